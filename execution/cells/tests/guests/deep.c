/* Begins regions far down its stack. */
#include <omp.h>

static volatile int regions;

static int down(int depth) {
  volatile int here[8] = {depth};
  if (depth > 0)
    return down(depth - 1) + here[0];
#pragma omp parallel
#pragma omp atomic
  regions++;
  return here[0];
}

int main(void) {
  while (down(200) >= 0)
    ;
  return 0;
}
