/*
 * What the kernels of this folder share. Each is one source: serial as it stands, with threads
 * when it is built with OpenMP, with ranks when it is built with -DUSE_MPI; it checks its own
 * result and says how long it took.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef USE_MPI
#include <mpi.h>
#endif

static int rank = 0, ranks = 1;

static void begin(int *argc, char ***argv) {
#ifdef USE_MPI
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
#else
    (void)argc, (void)argv;
#endif
}

static inline double now(void) {
#ifdef USE_MPI
    return MPI_Wtime();
#else
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
#endif
}

/* The argument of this place, or what stands for it. */
static inline int argument(int argc, char **argv, int place, int otherwise) {
    return argc > place ? atoi(argv[place]) : otherwise;
}

/* The first of `count` things that belong to this rank; the next rank's first is its end. */
static inline int first_of(int count, int of_rank) {
    return (int)((long long)count * of_rank / ranks);
}

/* The sum over all ranks. */
static inline double total(double mine) {
#ifdef USE_MPI
    double all;
    MPI_Allreduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return all;
#else
    return mine;
#endif
}

static inline void together(void) {
#ifdef USE_MPI
    MPI_Barrier(MPI_COMM_WORLD);
#endif
}

static inline void *room(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory == NULL) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(2);
    }
    return memory;
}

/* Says how the kernel did; its exit code. All ranks must agree that it is right. */
static int end(const char *name, double seconds, int times, int right) {
    int wrong = total(!right) > 0;
    if (rank == 0)
        printf("%s: %s, %.6f s each of %d\n", name, wrong ? "WRONG" : "right", seconds / times,
               times);
#ifdef USE_MPI
    MPI_Finalize();
#endif
    return wrong;
}

#endif
