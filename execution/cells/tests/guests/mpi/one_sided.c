/* Windows: put, get and accumulate between fences, under locks, and atomically. */
#include "check.h"

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int next = (rank + 1) % size, before = (rank + size - 1) % size;
    int *memory = calloc(size + 4, sizeof *memory), got = -1;
    MPI_Win win;
    MPI_Win_create(memory, (size + 4) * sizeof *memory, sizeof *memory, MPI_INFO_NULL,
                   MPI_COMM_WORLD, &win);
    MPI_Win_fence(0, win);
    int mine = rank + 10;
    MPI_Put(&mine, 1, MPI_INT, next, rank, 1, MPI_INT, win);
    MPI_Win_fence(0, win);
    CHECK(memory[before] == before + 10);
    MPI_Get(&got, 1, MPI_INT, next, rank, 1, MPI_INT, win);
    MPI_Win_fence(0, win);
    CHECK(got == rank + 10);
    MPI_Accumulate(&mine, 1, MPI_INT, 0, size, 1, MPI_INT, MPI_SUM, win);
    MPI_Win_fence(0, win);
    if (rank == 0) CHECK(memory[size] == size * (size - 1) / 2 + 10 * size);
    MPI_Win_fence(MPI_MODE_NOSUCCEED, win);

    for (int i = 0; i < 50; i++) {
        int one = 1, old;
        MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, win);
        MPI_Get(&old, 1, MPI_INT, 0, size + 1, 1, MPI_INT, win);
        MPI_Win_flush(0, win);
        old += one;
        MPI_Put(&old, 1, MPI_INT, 0, size + 1, 1, MPI_INT, win);
        MPI_Win_unlock(0, win);
    }
    int one = 1, old = -1, sum = 0, seen;
    MPI_Win_lock_all(0, win);
    MPI_Fetch_and_op(&one, &old, MPI_INT, 0, size + 2, MPI_SUM, win);
    MPI_Win_flush(0, win);
    CHECK(old >= 0 && old < size);
    int expected = 0, wanted = rank + 1, found = -1;
    MPI_Compare_and_swap(&wanted, &expected, &found, MPI_INT, 0, size + 3, win);
    MPI_Win_unlock_all(win);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Allreduce(&old, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(sum == size * (size - 1) / 2);
    seen = found == 0;
    MPI_Allreduce(MPI_IN_PLACE, &seen, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(seen == 1);
    MPI_Win_lock(MPI_LOCK_SHARED, 0, 0, win);
    MPI_Get(&got, 1, MPI_INT, 0, size + 1, 1, MPI_INT, win);
    MPI_Win_unlock(0, win);
    CHECK(got == 50 * size);
    MPI_Win_free(&win);
    CHECK(win == MPI_WIN_NULL);
    free(memory);

    double *own;
    MPI_Win_allocate(100 * sizeof(double), sizeof(double), MPI_INFO_NULL, MPI_COMM_WORLD, &own, &win);
    for (int i = 0; i < 100; i++) own[i] = rank;
    MPI_Win_fence(0, win);
    double theirs[50];
    MPI_Datatype every_other;
    MPI_Type_vector(50, 1, 2, MPI_DOUBLE, &every_other);
    MPI_Type_commit(&every_other);
    MPI_Get(theirs, 50, MPI_DOUBLE, next, 0, 1, every_other, win);
    MPI_Win_fence(0, win);
    for (int i = 0; i < 50; i++) CHECK(theirs[i] == next);
    MPI_Type_free(&every_other);
    MPI_Win_free(&win);
    return end();
}
