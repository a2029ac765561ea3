/* What the programs of this folder share: each checks itself at any number of threads, and says
   `ok` and its name at the end, or what is wrong. */
#ifndef CHECK_H
#define CHECK_H

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPLAINTS_MAX 20

static int complaints;

/* May be called by any thread. */
static inline void check(int right, const char *what, const char *file, int line) {
  int number;
  if (right)
    return;
#pragma omp atomic capture
  number = complaints++;
  if (number < COMPLAINTS_MAX)
    printf("%s:%d: thread %d of %d: not %s\n", file, line, omp_get_thread_num(),
           omp_get_num_threads(), what);
}

#define CHECK(condition) check(!!(condition), #condition, __FILE__, __LINE__)

static inline int end(const char *name) {
  if (complaints)
    return 1;
  printf("ok %s\n", name);
  return 0;
}

#endif
