/* threadprivate: every thread's own, from region to region. */
#include "check.h"

struct State {
  int number;
  double numbers[3];
};

static int counter = 10;
static struct State state = {1, {1.5, 2.5, 3.5}};
int visible = 4;
static int *pointer;
static char zeroed[1000];
#pragma omp threadprivate(counter, state, visible, pointer, zeroed)

static int in_function(void) {
  static int calls = 100;
#pragma omp threadprivate(calls)
  return ++calls;
}

static void begin_as_initialised(int most) {
  int right = 0;
#pragma omp parallel reduction(+ : right)
  right += counter == 10 && state.numbers[2] == 3.5 && visible == 4 && !pointer && !zeroed[999];
  CHECK(right == most);
}

static void persist(int most) {
  int *places[64];
#pragma omp parallel
  {
    counter = omp_get_thread_num();
    state.number = counter * 2;
    pointer = &counter;
    zeroed[counter] = 1;
    places[counter] = &counter;
  }
  for (int i = 0; i < most; i++)
    for (int j = 0; j < i; j++)
      CHECK(places[i] != places[j]);
  for (int round = 0; round < 20; round++) {
#pragma omp parallel
    {
      int me = omp_get_thread_num();
      CHECK(counter == me + round * most && state.number == me * 2);
      CHECK(pointer == &counter && places[me] == &counter);
      for (int i = 0; i < most; i++)
        CHECK(zeroed[i] == (i == me));
      counter += most;
    }
  }
}

static void copied_in(int most) {
  counter = 77;
  state.number = 78;
  state.numbers[1] = 0.125;
#pragma omp parallel copyin(counter, state)
  {
    CHECK(counter == 77 && state.number == 78 && state.numbers[1] == 0.125);
    counter += omp_get_thread_num();
    state.numbers[0] = counter;
  }
  CHECK(counter == 77);
#pragma omp parallel
  CHECK(counter == 77 + omp_get_thread_num() && state.numbers[0] == counter);
  (void)most;
}

static void handed_on(void) {
#pragma omp parallel
  {
#pragma omp single copyprivate(counter, state)
    {
      counter = 5;
      state.number = 6;
    }
    CHECK(counter == 5 && state.number == 6);
  }
}

static void within_functions(int most) {
#pragma omp parallel
  for (int i = 1; i <= 10; i++)
    CHECK(in_function() == 100 + i);
  CHECK(in_function() == 111);
  (void)most;
}

int main(void) {
  int most = omp_get_max_threads();
  begin_as_initialised(most);
  persist(most);
  copied_in(most);
  handed_on();
  within_functions(most);
  return end("threadprivate");
}
