/* teams and distribute, on the host. */
#include "check.h"

#define COUNT 200

static int ran[COUNT];

static void once(const char *what) {
  for (int i = 0; i < COUNT; i++)
    if (ran[i] != 1) {
      printf("teams.c: %s: iteration %d ran %d times\n", what, i, ran[i]);
      complaints++;
      break;
    }
  memset(ran, 0, sizeof ran);
}

#define MARK(i)                                                                                    \
  do {                                                                                             \
    _Pragma("omp atomic") ran[i]++;                                                                \
  } while (0)

static void loops(void) {
#pragma omp target teams distribute
  for (int i = 0; i < COUNT; i++)
    MARK(i);
  once("distribute");
#pragma omp target teams distribute dist_schedule(static, 7)
  for (int i = 0; i < COUNT; i++)
    MARK(i);
  once("dist_schedule");
#pragma omp target teams distribute parallel for num_teams(2) thread_limit(3)
  for (int i = 0; i < COUNT; i++)
    MARK(i);
  once("distribute parallel for");
#pragma omp target teams distribute parallel for schedule(dynamic, 3) collapse(2)
  for (int i = 0; i < COUNT / 10; i++)
    for (int j = 0; j < 10; j++)
      MARK(i * 10 + j);
  once("collapse");
#pragma omp target teams distribute parallel for simd schedule(static, 4)
  for (long i = COUNT - 1; i >= 0; i--)
    MARK(i);
  once("distribute parallel for simd");
#pragma omp target teams distribute simd
  for (int i = 0; i < COUNT; i++)
    ran[i]++;
  once("distribute simd");
#pragma omp target teams
#pragma omp distribute parallel for dist_schedule(static, 16) schedule(guided)
  for (int i = 0; i < COUNT; i++)
    MARK(i);
  once("apart");
}

static void numbers(void) {
  int teams = 0, count = 0, seen = 0, threads = 0;
#pragma omp target teams num_teams(3) thread_limit(2) map(tofrom : teams, count, seen, threads)
#pragma omp parallel
  {
    CHECK(omp_get_team_num() < omp_get_num_teams() && omp_get_num_threads() <= 2);
#pragma omp atomic
    threads++;
#pragma omp master
    {
#pragma omp atomic
      seen += omp_get_team_num();
#pragma omp atomic write
      teams = omp_get_num_teams();
#pragma omp atomic
      count++;
    }
  }
  CHECK(teams >= 1 && teams <= 3 && count == teams && seen == teams * (teams - 1) / 2);
  CHECK(threads >= teams && threads <= 2 * teams);
  CHECK(omp_get_num_teams() == 1 && omp_get_team_num() == 0);
}

static void data(void) {
  int sum = 0, last = -1, begun = 4;
#pragma omp target teams distribute parallel for reduction(+ : sum) firstprivate(begun)            \
    map(tofrom : sum)
  for (int i = 0; i < COUNT; i++)
    sum += i + begun;
  CHECK(sum == COUNT * (COUNT - 1) / 2 + 4 * COUNT);
#pragma omp target teams distribute lastprivate(last) map(tofrom : last)
  for (int i = 0; i < COUNT; i++)
    last = i;
  CHECK(last == COUNT - 1);
  sum = 0;
#pragma omp target teams reduction(+ : sum) map(tofrom : sum) num_teams(2)
  {
#pragma omp distribute
    for (int i = 0; i < COUNT; i++)
      sum += 1;
  }
  CHECK(sum == COUNT);
}

/* 5.0: teams outside of target, and loop. */
static void newer(void) {
#if defined(__clang__)
  int sum = 0, teams = 0;
#pragma omp teams num_teams(2) reduction(+ : teams)
  teams += 1;
  CHECK(teams >= 1 && teams <= 2);
#pragma omp teams distribute parallel for reduction(+ : sum)
  for (int i = 0; i < COUNT; i++)
    sum += i;
  CHECK(sum == COUNT * (COUNT - 1) / 2);
#pragma omp target teams loop
  for (int i = 0; i < COUNT; i++)
    MARK(i);
  once("loop");
#pragma omp parallel
#pragma omp loop
  for (int i = 0; i < COUNT; i++)
    MARK(i);
  once("loop within parallel");
#endif
}

int main(void) {
  loops();
  numbers();
  data();
  newer();
  return end("teams");
}
