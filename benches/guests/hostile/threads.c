/* Asks for 1000 threads, and all of them compute for ever. */
int main(void) {
#pragma omp parallel num_threads(1000)
    {
        volatile unsigned turns = 0;
        for (;;) turns++;
    }
}
