/* How long two ranks take for one thing of MPI: `mpi_latency WHAT TIMES`, microseconds. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int rank, size;

/* There and back; the payload changes each time and is looked at. */
static double ping_pong(int bytes, int times) {
    unsigned char *out = malloc(bytes), *in = malloc(bytes);
    memset(out, 0, bytes);
    double start = 0;
    for (int time = -times / 10; time < times; time++) {
        if (time == 0) MPI_Barrier(MPI_COMM_WORLD), start = MPI_Wtime();
        unsigned char mark = (unsigned char)(time + 1);
        if (rank == 0) {
            out[0] = out[bytes - 1] = out[bytes / 2] = mark;
            MPI_Send(out, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
            MPI_Recv(in, bytes, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        } else if (rank == 1) {
            MPI_Recv(in, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            out[0] = out[bytes - 1] = out[bytes / 2] = in[bytes / 2];
            MPI_Send(out, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
        }
        if (rank < 2 && (in[0] != mark || in[bytes - 1] != mark)) {
            fprintf(stderr, "rank %d got another message in turn %d\n", rank, time);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    }
    double seconds = MPI_Wtime() - start;
    free(out), free(in);
    return seconds / times / 2;
}

static double together(int reduce, int times) {
    double start = 0, mine, all;
    for (int time = -times / 10; time < times; time++) {
        if (time == 0) MPI_Barrier(MPI_COMM_WORLD), start = MPI_Wtime();
        if (!reduce) {
            MPI_Barrier(MPI_COMM_WORLD);
            continue;
        }
        mine = rank + time;
        MPI_Allreduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        if (all != (double)size * time + size * (size - 1) / 2) MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return (MPI_Wtime() - start) / times;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const char *what = argc > 1 ? argv[1] : "8";
    int times = argc > 2 ? atoi(argv[2]) : 10000;
    double seconds;
    if (strcmp(what, "barrier") == 0) seconds = together(0, times);
    else if (strcmp(what, "allreduce") == 0) seconds = together(1, times);
    else seconds = ping_pong(atoi(what), times);
    if (rank == 0) printf("%.4f\n", seconds * 1e6);
    MPI_Finalize();
    return 0;
}
