/* A program that counts slowly, deep in recursion and through a function pointer. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int step(int n);
static int (*volatile again)(int) = step;

static int step(int n) {
    struct timespec pause = {0, 20000000};
    int rest;
    printf("step %d\n", n);
    fflush(stdout);
    nanosleep(&pause, 0);
    rest = n > 1 ? again(n - 1) : 0;
    return rest + n;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 5;
    printf("sum %d\n", step(n));
    return 7;
}
