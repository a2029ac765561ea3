/* A heap of more than a GiB that all threads write and read. */
#include "check.h"

#define BYTES ((size_t)1200 << 20)
#define STEP 16384

int main(void) {
  int most = omp_get_max_threads();
  unsigned char *heap = malloc(BYTES);
  long wrong = 0;
  if (!heap) {
    puts("heap.c: there is no memory");
    return 1;
  }
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < BYTES; i += STEP)
    heap[i] = (unsigned char)(i / STEP * 7);
  /* Smaller pieces are to be had beside it. */
#pragma omp parallel
  {
    for (int i = 0; i < 50; i++) {
      size_t length = 1000 + 37 * (size_t)i;
      unsigned char *piece = malloc(length);
      CHECK(piece && (piece + length <= heap || piece >= heap + BYTES));
      memset(piece, i, length);
      CHECK(piece[length - 1] == i);
      free(piece);
    }
  }
#pragma omp parallel for schedule(dynamic, 64) reduction(+ : wrong)
  for (size_t i = 0; i < BYTES; i += STEP)
    wrong += heap[i] != (unsigned char)(i / STEP * 7);
  CHECK(wrong == 0);
  heap[BYTES - 1] = 1;
  free(heap);
  (void)most;
  return end("heap");
}
