/* Another job: keeps its threads busy for so many seconds. */
#include <omp.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    double until = omp_get_wtime() + (argc > 1 ? atof(argv[1]) : 5);
    #pragma omp parallel
    while (omp_get_wtime() < until) {
        for (volatile int turn = 0; turn < 10000; turn++) {}
    }
    return 0;
}
