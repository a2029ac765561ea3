/* Non-blocking and persistent communication, and every way to wait for it. */
#include "check.h"

#define MANY 64

static void all_to_all(void) {
    MPI_Request *requests = malloc(2 * size * sizeof *requests);
    int *out = malloc(size * sizeof *out), *in = malloc(size * sizeof *in);
    MPI_Status *statuses = malloc(2 * size * sizeof *statuses);
    for (int i = 0; i < size; i++) {
        in[i] = -1;
        MPI_Irecv(&in[i], 1, MPI_INT, i, 4, MPI_COMM_WORLD, &requests[i]);
    }
    for (int i = 0; i < size; i++) {
        out[i] = rank * 100 + i;
        MPI_Isend(&out[i], 1, MPI_INT, i, 4, MPI_COMM_WORLD, &requests[size + i]);
    }
    MPI_Waitall(2 * size, requests, statuses);
    for (int i = 0; i < size; i++) {
        CHECK(in[i] == i * 100 + rank);
        CHECK(statuses[i].MPI_SOURCE == i);
        CHECK(requests[i] == MPI_REQUEST_NULL && requests[size + i] == MPI_REQUEST_NULL);
    }
    free(requests), free(out), free(in), free(statuses);
}

static void any_and_some(void) {
    int next = (rank + 1) % size, before = (rank + size - 1) % size;
    int in[MANY], out[MANY], seen[MANY] = {0}, done = 0;
    MPI_Request receives[MANY], sends[MANY];
    for (int i = 0; i < MANY; i++)
        MPI_Irecv(&in[i], 1, MPI_INT, before, i, MPI_COMM_WORLD, &receives[i]);
    for (int i = MANY - 1; i >= 0; i--) {
        out[i] = rank + i;
        MPI_Issend(&out[i], 1, MPI_INT, next, i, MPI_COMM_WORLD, &sends[i]);
    }
    while (done < MANY / 2) {
        int index;
        MPI_Status status;
        MPI_Waitany(MANY, receives, &index, &status);
        CHECK(index >= 0 && index < MANY && !seen[index] && status.MPI_TAG == index);
        CHECK(in[index] == before + index);
        seen[index] = 1;
        done++;
    }
    while (done < MANY) {
        int count, indices[MANY];
        MPI_Waitsome(MANY, receives, &count, indices, MPI_STATUSES_IGNORE);
        CHECK(count > 0);
        for (int i = 0; i < count; i++) {
            CHECK(!seen[indices[i]] && in[indices[i]] == before + indices[i]);
            seen[indices[i]] = 1;
        }
        done += count;
    }
    int index = 0, count = 0, flag = 0;
    MPI_Waitany(MANY, receives, &index, MPI_STATUS_IGNORE);
    CHECK(index == MPI_UNDEFINED);
    MPI_Waitsome(MANY, receives, &count, &index, MPI_STATUSES_IGNORE);
    CHECK(count == MPI_UNDEFINED);
    while (!flag) MPI_Testall(MANY, sends, &flag, MPI_STATUSES_IGNORE);
    MPI_Testany(MANY, sends, &index, &flag, MPI_STATUS_IGNORE);
    CHECK(flag && index == MPI_UNDEFINED);
}

static void persistent(void) {
    int next = (rank + 1) % size, before = (rank + size - 1) % size, in, out;
    MPI_Request pair[2];
    MPI_Send_init(&out, 1, MPI_INT, next, 6, MPI_COMM_WORLD, &pair[0]);
    MPI_Recv_init(&in, 1, MPI_INT, before, 6, MPI_COMM_WORLD, &pair[1]);
    for (int round = 0; round < 20; round++) {
        out = rank + round;
        MPI_Startall(2, pair);
        MPI_Waitall(2, pair, MPI_STATUSES_IGNORE);
        CHECK(in == before + round);
        CHECK(pair[0] != MPI_REQUEST_NULL);
    }
    MPI_Request_free(&pair[0]);
    MPI_Request_free(&pair[1]);
    CHECK(pair[1] == MPI_REQUEST_NULL);
}

static void cancelled(void) {
    int in, flag = 0;
    MPI_Request request;
    MPI_Status status;
    MPI_Irecv(&in, 1, MPI_INT, rank, 99, MPI_COMM_WORLD, &request);
    MPI_Test(&request, &flag, &status);
    CHECK(!flag);
    MPI_Cancel(&request);
    MPI_Wait(&request, &status);
    MPI_Test_cancelled(&status, &flag);
    CHECK(flag);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    all_to_all();
    any_and_some();
    persistent();
    cancelled();
    return end();
}
