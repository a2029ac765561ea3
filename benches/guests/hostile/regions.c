/* Begins regions within regions for ever, each with as many threads as it gets. */
#include <omp.h>

int main(void) {
    volatile unsigned begun = 0;
    omp_set_max_active_levels(2);
    for (;;) {
#pragma omp parallel num_threads(30)
        {
#pragma omp parallel num_threads(30)
            begun++;
        }
    }
}
