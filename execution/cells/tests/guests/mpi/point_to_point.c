/* Ordering, wildcards, modes, probes, truncation and large messages between two ranks and in a ring. */
#include "check.h"

#define LARGE (1 << 18)

static void ring(void) {
    int next = (rank + 1) % size, before = (rank + size - 1) % size, token = -1;
    MPI_Status status;
    for (int round = 0; round < 100; round++) {
        int mine = rank * 1000 + round;
        MPI_Sendrecv(&mine, 1, MPI_INT, next, round, &token, 1, MPI_INT, before, round,
                     MPI_COMM_WORLD, &status);
        CHECK(token == before * 1000 + round);
        CHECK(status.MPI_SOURCE == before && status.MPI_TAG == round);
    }
    MPI_Sendrecv_replace(&token, 1, MPI_INT, next, 5, before, 5, MPI_COMM_WORLD, &status);
    CHECK(token == ((before + size - 1) % size) * 1000 + 99);
}

/* Messages of one tag arrive as they were sent; others may be taken before them. */
static void order(void) {
    if (size < 2 || rank > 1) return;
    if (rank == 0) {
        for (int i = 0; i < 200; i++) MPI_Send(&i, 1, MPI_INT, 1, i % 2, MPI_COMM_WORLD);
        return;
    }
    for (int i = 1; i < 200; i += 2) {
        int got;
        MPI_Recv(&got, 1, MPI_INT, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        CHECK(got == i);
    }
    for (int i = 0; i < 200; i += 2) {
        int got;
        MPI_Recv(&got, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        CHECK(got == i);
    }
}

static void large(void) {
    int *data = malloc(LARGE * sizeof *data);
    int partner = rank ^ 1;
    if (partner < size) {
        for (int turn = 0; turn < 2; turn++) {
            if ((rank & 1) == turn) {
                for (int i = 0; i < LARGE; i++) data[i] = i * 7 + rank;
                MPI_Ssend(data, LARGE, MPI_INT, partner, 3, MPI_COMM_WORLD);
            } else {
                MPI_Status status;
                int count;
                memset(data, 0, LARGE * sizeof *data);
                MPI_Probe(partner, 3, MPI_COMM_WORLD, &status);
                MPI_Get_count(&status, MPI_INT, &count);
                CHECK(count == LARGE);
                MPI_Recv(data, LARGE, MPI_INT, partner, 3, MPI_COMM_WORLD, &status);
                for (int i = 0; i < LARGE; i++) CHECK(data[i] == i * 7 + partner);
            }
        }
    }
    free(data);
}

static void everybody_to_one(void) {
    long sum = 0;
    if (rank == 0) {
        for (int i = 1; i < size; i++) {
            long got;
            MPI_Status status;
            MPI_Recv(&got, 1, MPI_LONG, MPI_ANY_SOURCE, 11, MPI_COMM_WORLD, &status);
            CHECK(got == status.MPI_SOURCE * 10L);
            sum += got;
        }
        CHECK(sum == 10L * size * (size - 1) / 2);
    } else {
        long mine = rank * 10L;
        MPI_Send(&mine, 1, MPI_LONG, 0, 11, MPI_COMM_WORLD);
    }
}

static void truncation(void) {
    int sent[4] = {1, 2, 3, 4}, got[2] = {0, 0}, class;
    MPI_Request request;
    MPI_Comm own;
    MPI_Comm_dup(MPI_COMM_SELF, &own);
    MPI_Comm_set_errhandler(own, MPI_ERRORS_RETURN);
    MPI_Isend(sent, 4, MPI_INT, 0, 1, own, &request);
    int error = MPI_Recv(got, 2, MPI_INT, 0, 1, own, MPI_STATUS_IGNORE);
    CHECK(error != MPI_SUCCESS);
    MPI_Error_class(error, &class);
    CHECK(class == MPI_ERR_TRUNCATE);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    error = MPI_Send(sent, 1, MPI_INT, 5, 0, own);
    MPI_Error_class(error, &class);
    CHECK(class == MPI_ERR_RANK);
    char text[MPI_MAX_ERROR_STRING];
    int length;
    MPI_Error_string(error, text, &length);
    CHECK(length > 0 && (int)strlen(text) == length);
    MPI_Comm_free(&own);
    CHECK(own == MPI_COMM_NULL);
}

static void nobody(void) {
    int value = 5;
    MPI_Status status;
    MPI_Send(&value, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD);
    MPI_Recv(&value, 1, MPI_INT, MPI_PROC_NULL, 0, MPI_COMM_WORLD, &status);
    int count;
    MPI_Get_count(&status, MPI_INT, &count);
    CHECK(value == 5 && count == 0 && status.MPI_SOURCE == MPI_PROC_NULL);
}

static void buffered(void) {
    int bytes = 4096 + MPI_BSEND_OVERHEAD, flag = 0, got[10];
    void *buffer = malloc(bytes);
    MPI_Status status;
    MPI_Buffer_attach(buffer, bytes);
    int next = (rank + 1) % size, before = (rank + size - 1) % size, mine[10];
    for (int i = 0; i < 10; i++) mine[i] = rank + i;
    MPI_Bsend(mine, 10, MPI_INT, next, 77, MPI_COMM_WORLD);
    memset(mine, 0, sizeof mine);
    while (!flag) MPI_Iprobe(before, 77, MPI_COMM_WORLD, &flag, &status);
    MPI_Recv(got, 10, MPI_INT, before, 77, MPI_COMM_WORLD, &status);
    for (int i = 0; i < 10; i++) CHECK(got[i] == before + i);
    void *back;
    int size_back;
    MPI_Buffer_detach(&back, &size_back);
    CHECK(back == buffer && size_back == bytes);
    free(buffer);
}

static void matched_probe(void) {
    int next = (rank + 1) % size, before = (rank + size - 1) % size, mine = rank, got = -1;
    MPI_Message message;
    MPI_Status status;
    MPI_Request request;
    MPI_Isend(&mine, 1, MPI_INT, next, 8, MPI_COMM_WORLD, &request);
    MPI_Mprobe(before, 8, MPI_COMM_WORLD, &message, &status);
    MPI_Mrecv(&got, 1, MPI_INT, &message, &status);
    CHECK(got == before && message == MPI_MESSAGE_NULL);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    ring();
    order();
    large();
    everybody_to_one();
    truncation();
    nobody();
    buffered();
    matched_probe();
    return end();
}
