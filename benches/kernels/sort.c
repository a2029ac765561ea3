/* Quicksort by recursion, then a hash over the result; a checkpoint after each round. Calls and
 * branches, where the others have loops over numbers. */
#include "timing.h"
#include <stdint.h>

#define COUNT (1 << 18)
#define ROUNDS 8

static uint32_t values[COUNT];

static void insertion_sort(uint32_t *at, int count) {
    for (int i = 1; i < count; i++) {
        uint32_t value = at[i];
        int j = i;
        for (; j > 0 && at[j - 1] > value; j--) at[j] = at[j - 1];
        at[j] = value;
    }
}

static void sort(uint32_t *at, int count) {
    while (count > 24) {
        uint32_t pivot = at[count / 2];
        int i = 0, j = count - 1;
        for (;;) {
            while (at[i] < pivot) i++;
            while (at[j] > pivot) j--;
            if (i >= j) break;
            uint32_t swapped = at[i];
            at[i++] = at[j];
            at[j--] = swapped;
        }
        sort(at, j + 1);
        at += j + 1;
        count -= j + 1;
    }
    insertion_sort(at, count);
}

int main(void) {
    uint32_t hash = 2166136261u;
    long long started = now();
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        uint32_t state = round;
        for (int i = 0; i < COUNT; i++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            values[i] = state;
        }
        sort(values, COUNT);
        for (int i = 0; i < COUNT; i++) hash = (hash ^ values[i]) * 16777619u;
        cloudskin_checkpoint();
    }
    return report(started, hash);
}
