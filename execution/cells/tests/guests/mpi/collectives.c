/* Every collective, with counts that differ, roots that wander, and in place. */
#include "check.h"

static int *ints(int count) { return calloc(count + 1, sizeof(int)); }

static void broadcast(int count) {
    int *data = ints(count);
    for (int root = 0; root < size; root++) {
        for (int i = 0; i < count; i++) data[i] = rank == root ? root * 31 + i : -1;
        MPI_Bcast(data, count, MPI_INT, root, MPI_COMM_WORLD);
        for (int i = 0; i < count; i++) CHECK(data[i] == root * 31 + i);
    }
    free(data);
}

static void gathers(int count) {
    int *mine = ints(count), *all = ints(count * size);
    for (int i = 0; i < count; i++) mine[i] = rank * 100 + i;
    for (int root = 0; root < size; root++) {
        MPI_Gather(mine, count, MPI_INT, all, count, MPI_INT, root, MPI_COMM_WORLD);
        if (rank == root)
            for (int i = 0; i < count * size; i++) CHECK(all[i] == i / count * 100 + i % count);
        int *back = ints(count);
        MPI_Scatter(all, count, MPI_INT, rank == root ? MPI_IN_PLACE : back, count, MPI_INT, root,
                    MPI_COMM_WORLD);
        if (rank != root)
            for (int i = 0; i < count; i++) CHECK(back[i] == mine[i]);
        free(back);
    }
    memset(all, 0, count * size * sizeof *all);
    MPI_Allgather(mine, count, MPI_INT, all, count, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < count * size; i++) CHECK(all[i] == i / count * 100 + i % count);
    memset(all, 0, count * size * sizeof *all);
    memcpy(all + rank * count, mine, count * sizeof *all);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, count, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < count * size; i++) CHECK(all[i] == i / count * 100 + i % count);
    free(mine), free(all);
}

/* Rank i has i + 1 elements; one element is left free between two ranks' parts. */
static void with_counts(void) {
    int *counts = ints(size), *places = ints(size), total = 0;
    for (int i = 0; i < size; i++) {
        counts[i] = i + 1;
        places[i] = total;
        total += i + 2;
    }
    int *mine = ints(size + 1), *all = ints(total);
    for (int i = 0; i <= rank; i++) mine[i] = rank * 50 + i;
    memset(all, -1, total * sizeof *all);
    MPI_Gatherv(mine, rank + 1, MPI_INT, all, counts, places, MPI_INT, size - 1, MPI_COMM_WORLD);
    if (rank == size - 1)
        for (int i = 0; i < size; i++) {
            for (int j = 0; j <= i; j++) CHECK(all[places[i] + j] == i * 50 + j);
            CHECK(all[places[i] + i + 1] == -1);
        }
    int *back = ints(size + 1);
    MPI_Scatterv(all, counts, places, MPI_INT, back, rank + 1, MPI_INT, size - 1, MPI_COMM_WORLD);
    for (int i = 0; i <= rank; i++) CHECK(back[i] == mine[i]);
    memset(all, -1, total * sizeof *all);
    MPI_Allgatherv(mine, rank + 1, MPI_INT, all, counts, places, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < size; i++)
        for (int j = 0; j <= i; j++) CHECK(all[places[i] + j] == i * 50 + j);
    free(counts), free(places), free(mine), free(all), free(back);
}

static void exchange(int count) {
    int *out = ints(count * size), *in = ints(count * size);
    for (int i = 0; i < count * size; i++) out[i] = rank * 10000 + i;
    MPI_Alltoall(out, count, MPI_INT, in, count, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < size; i++)
        for (int j = 0; j < count; j++)
            CHECK(in[i * count + j] == i * 10000 + rank * count + j);
    MPI_Alltoall(MPI_IN_PLACE, 0, MPI_INT, out, count, MPI_INT, MPI_COMM_WORLD);
    CHECK(memcmp(in, out, count * size * sizeof *in) == 0);
    /* rank i sends i + j elements to rank j */
    int *send_counts = ints(size), *send_places = ints(size);
    int *receive_counts = ints(size), *receive_places = ints(size), sent = 0, received = 0;
    for (int i = 0; i < size; i++) {
        send_counts[i] = receive_counts[i] = rank + i;
        send_places[i] = sent, sent += rank + i;
        receive_places[i] = received, received += rank + i;
    }
    int *outv = ints(sent), *inv = ints(received);
    for (int i = 0; i < size; i++)
        for (int j = 0; j < rank + i; j++) outv[send_places[i] + j] = rank * 1000 + i * 100 + j;
    MPI_Alltoallv(outv, send_counts, send_places, MPI_INT, inv, receive_counts, receive_places,
                  MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < size; i++)
        for (int j = 0; j < rank + i; j++)
            CHECK(inv[receive_places[i] + j] == i * 1000 + rank * 100 + j);
    free(out), free(in), free(outv), free(inv);
    free(send_counts), free(send_places), free(receive_counts), free(receive_places);
}

static void reductions(int count) {
    double *mine = calloc(count, sizeof *mine), *sum = calloc(count, sizeof *sum);
    for (int i = 0; i < count; i++) mine[i] = rank + i * 0.5;
    double ranks = size * (size - 1) / 2.0;
    for (int root = 0; root < size; root++) {
        memset(sum, 0, count * sizeof *sum);
        MPI_Reduce(mine, sum, count, MPI_DOUBLE, MPI_SUM, root, MPI_COMM_WORLD);
        if (rank == root)
            for (int i = 0; i < count; i++) CHECK(sum[i] == ranks + i * 0.5 * size);
    }
    MPI_Allreduce(mine, sum, count, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    for (int i = 0; i < count; i++) CHECK(sum[i] == size - 1 + i * 0.5);
    memcpy(sum, mine, count * sizeof *sum);
    MPI_Allreduce(MPI_IN_PLACE, sum, count, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < count; i++) CHECK(sum[i] == ranks + i * 0.5 * size);
    free(mine), free(sum);

    int *parts = ints(count * size), *own = ints(count);
    for (int i = 0; i < count * size; i++) parts[i] = rank + i;
    MPI_Reduce_scatter_block(parts, own, count, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < count; i++)
        CHECK(own[i] == size * (size - 1) / 2 + size * (rank * count + i));
    int *counts = ints(size);
    for (int i = 0; i < size; i++) counts[i] = count;
    MPI_Reduce_scatter(parts, own, counts, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < count; i++)
        CHECK(own[i] == size * (size - 1) / 2 + size * (rank * count + i));
    free(parts), free(own), free(counts);
}

static void scans(void) {
    int mine = rank + 1, sum = 0;
    MPI_Scan(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(sum == (rank + 1) * (rank + 2) / 2);
    sum = -5;
    MPI_Exscan(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    CHECK(rank == 0 || sum == rank * (rank + 1) / 2);
}

static void non_blocking(void) {
    MPI_Request requests[3];
    int value = rank == 0 ? 42 : 0, mine = rank, sum = -1;
    MPI_Ibarrier(MPI_COMM_WORLD, &requests[0]);
    MPI_Ibcast(&value, 1, MPI_INT, 0, MPI_COMM_WORLD, &requests[1]);
    MPI_Iallreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &requests[2]);
    MPI_Waitall(3, requests, MPI_STATUSES_IGNORE);
    CHECK(value == 42 && sum == size * (size - 1) / 2);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int counts[] = {1, 3, 1000, 40000};
    for (int i = 0; i < 4; i++) {
        broadcast(counts[i]);
        gathers(counts[i]);
        exchange(counts[i] < 1000 ? counts[i] : 1000);
        reductions(counts[i]);
    }
    broadcast(0);
    with_counts();
    scans();
    non_blocking();
    for (int i = 0; i < 1000; i++) MPI_Barrier(MPI_COMM_WORLD);
    return end();
}
