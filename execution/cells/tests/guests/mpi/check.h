/* What the programs of this folder share: each checks itself, and rank 0 says `ok` at the end. */
#ifndef CHECK_H
#define CHECK_H

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;

#define CHECK(condition)                                                                          \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "%s:%d: rank %d of %d: not %s\n", __FILE__, __LINE__, rank, size,    \
                    #condition);                                                                  \
            MPI_Abort(MPI_COMM_WORLD, 9);                                                         \
        }                                                                                         \
    } while (0)

__attribute__((unused)) static void begin(int *argc, char ***argv) {
    MPI_Init(argc, argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
}

__attribute__((unused)) static int end(void) {
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) printf("ok\n");
    return MPI_Finalize();
}

#endif
