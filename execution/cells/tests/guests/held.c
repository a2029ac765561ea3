/* Stays in a region, or waits for what no thread of its own will say. */
#include <omp.h>
#include <stdio.h>

static volatile int go_on = 1;
static int word;

int main(int count, char **arguments) {
  if (count > 1)
    return __builtin_wasm_memory_atomic_wait32(&word, 0, -1);
#pragma omp parallel
  {
#pragma omp single nowait
    {
      puts("within");
      fflush(stdout);
    }
    while (go_on)
      ;
  }
  return 0;
}
