/* The C library under all threads: its allocator and its streams. */
#include "check.h"
#include <math.h>

static void allocator(int most) {
#pragma omp parallel
  {
    unsigned seed = 17 + (unsigned)omp_get_thread_num();
    unsigned char *blocks[32] = {NULL}, marks[32] = {0};
    size_t lengths[32] = {0};
    for (int i = 0; i < 1500; i++) {
      seed = seed * 1103515245 + 12345;
      unsigned slot = seed >> 16 & 31;
      for (size_t j = 0; j < lengths[slot]; j++)
        CHECK(blocks[slot][j] == marks[slot]);
      size_t length = seed >> 21 & 255;
      switch (i % 4) {
      case 0:
        free(blocks[slot]);
        blocks[slot] = malloc(length + 1);
        break;
      case 1:
        free(blocks[slot]);
        blocks[slot] = calloc(length + 1, 1);
        CHECK(blocks[slot][length] == 0);
        break;
      case 2:
        blocks[slot] = realloc(blocks[slot], length + 1);
        break;
      default:
        free(blocks[slot]);
        blocks[slot] = aligned_alloc(64, 256);
        CHECK((size_t)blocks[slot] % 64 == 0);
      }
      lengths[slot] = length;
      marks[slot] = (unsigned char)i;
      memset(blocks[slot], i, length);
    }
    for (int i = 0; i < 32; i++)
      free(blocks[i]);
  }
  /* Freed by another thread than the one that asked for it. */
  void **handed = malloc(64 * sizeof *handed);
#pragma omp parallel
  for (int round = 0; round < 20; round++) {
    int me = omp_get_thread_num();
    handed[me] = malloc(100);
#pragma omp barrier
    free(handed[(me + 1) % most]);
#pragma omp barrier
  }
  free(handed);
}

/* Lines of different threads do not mix. */
static void streams(int most) {
  const char *path = "lines.txt";
  FILE *file = fopen(path, "w");
  if (!file)
    return;
#pragma omp parallel
  for (int i = 0; i < 50; i++) {
    fprintf(file, "%d-%d-%s\n", omp_get_thread_num(), i, "abcdefghijklmnopqrstuvwxyz");
    fputs("another line\n", file);
  }
  fclose(file);
  file = fopen(path, "r");
  CHECK(file);
  int lines = 0, others = 0, thread, number;
  char line[100], letters[40];
  while (file && fgets(line, sizeof line, file)) {
    if (!strcmp(line, "another line\n")) {
      others++;
      continue;
    }
    CHECK(sscanf(line, "%d-%d-%39s", &thread, &number, letters) == 3);
    CHECK(!strcmp(letters, "abcdefghijklmnopqrstuvwxyz"));
    lines++;
  }
  CHECK(lines == 50 * most && others == 50 * most);
  if (file)
    fclose(file);
  remove(path);
}

static void texts(void) {
#pragma omp parallel
  for (int i = 0; i < 100; i++) {
    char text[64];
    int a;
    double b;
    snprintf(text, sizeof text, "%d %.3f", i, i + 0.125);
    CHECK(sscanf(text, "%d %lf", &a, &b) == 2 && a == i && b == i + 0.125);
    CHECK(strtol(text, NULL, 10) == i && strtod(text, NULL) == i);
    CHECK(fabs(sqrt((double)i) * sqrt((double)i) - i) < 1e-9);
  }
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void sorting(void) {
#pragma omp parallel
  {
    int numbers[200];
    for (int i = 0; i < 200; i++)
      numbers[i] = (i * 7919 + omp_get_thread_num()) % 1009;
    qsort(numbers, 200, sizeof *numbers, ascending);
    for (int i = 1; i < 200; i++)
      CHECK(numbers[i - 1] <= numbers[i]);
  }
}

int main(void) {
  int most = omp_get_max_threads();
  allocator(most);
  streams(most);
  texts();
  sorting();
  return end("library");
}
