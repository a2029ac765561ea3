/* Derived datatypes: what is sent with one layout arrives in another; pack and unpack. */
#include "check.h"
#include <stddef.h>

#define N 12

static int next, before;

/* Sends with one type to the next rank, and receives from the one before with another. */
static void swap(void *out, int out_count, MPI_Datatype out_type, void *in, int in_count,
                 MPI_Datatype in_type) {
    MPI_Sendrecv(out, out_count, out_type, next, 2, in, in_count, in_type, before, 2,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void columns(void) {
    int out[N][N], in[N];
    MPI_Datatype column;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) out[i][j] = rank * 1000 + i * N + j;
    MPI_Type_vector(N, 1, N, MPI_INT, &column);
    MPI_Type_commit(&column);
    swap(&out[0][3], 1, column, in, N, MPI_INT);
    for (int i = 0; i < N; i++) CHECK(in[i] == before * 1000 + i * N + 3);
    /* Two columns side by side, once the extent is that of one element. */
    MPI_Datatype narrow;
    MPI_Type_create_resized(column, 0, sizeof(int), &narrow);
    MPI_Type_commit(&narrow);
    int two[2 * N];
    swap(out, 2, narrow, two, 2 * N, MPI_INT);
    for (int i = 0; i < 2 * N; i++) CHECK(two[i] == before * 1000 + i % N * N + i / N);
    MPI_Aint lower, extent, true_lower, true_extent;
    int bytes;
    MPI_Type_get_extent(column, &lower, &extent);
    CHECK(lower == 0 && extent == (MPI_Aint)(((N - 1) * N + 1) * sizeof(int)));
    MPI_Type_get_extent(narrow, &lower, &extent);
    MPI_Type_get_true_extent(narrow, &true_lower, &true_extent);
    MPI_Type_size(narrow, &bytes);
    CHECK(extent == sizeof(int) && true_extent > extent && bytes == N * (int)sizeof(int));
    MPI_Type_free(&column);
    MPI_Type_free(&narrow);
}

struct particle {
    char kind;
    double place[3];
    int id;
};

static void structures(void) {
    struct particle out[5], in[5];
    int lengths[3] = {1, 3, 1};
    MPI_Aint places[3] = {offsetof(struct particle, kind), offsetof(struct particle, place),
                          offsetof(struct particle, id)};
    MPI_Datatype types[3] = {MPI_CHAR, MPI_DOUBLE, MPI_INT}, packed, particle;
    MPI_Type_create_struct(3, lengths, places, types, &packed);
    MPI_Type_create_resized(packed, 0, sizeof(struct particle), &particle);
    MPI_Type_commit(&particle);
    for (int i = 0; i < 5; i++)
        out[i] = (struct particle){(char)('a' + i), {rank, i, rank * i}, rank * 10 + i};
    memset(in, 0, sizeof in);
    swap(out, 5, particle, in, 5, particle);
    for (int i = 0; i < 5; i++) {
        CHECK(in[i].kind == 'a' + i && in[i].id == before * 10 + i);
        CHECK(in[i].place[0] == before && in[i].place[1] == i && in[i].place[2] == before * i);
    }
    MPI_Bcast(in, 5, particle, 0, MPI_COMM_WORLD);
    CHECK(in[4].id == (size - 1) % size * 10 + 4 || size == 1);
    MPI_Type_free(&packed);
    MPI_Type_free(&particle);
}

static void indexed(void) {
    int out[20], in[20], lengths[3] = {2, 1, 3}, places[3] = {1, 5, 10}, same[4] = {0, 4, 8, 12};
    MPI_Datatype some, blocks, bytes;
    for (int i = 0; i < 20; i++) out[i] = rank * 100 + i;
    MPI_Type_indexed(3, lengths, places, MPI_INT, &some);
    MPI_Type_commit(&some);
    swap(out, 1, some, in, 6, MPI_INT);
    int expected[6] = {1, 2, 5, 10, 11, 12};
    for (int i = 0; i < 6; i++) CHECK(in[i] == before * 100 + expected[i]);
    memset(in, -1, sizeof in);
    swap(out, 6, MPI_INT, in, 1, some);
    for (int i = 0; i < 6; i++) CHECK(in[expected[i]] == before * 100 + i);
    CHECK(in[0] == -1 && in[3] == -1 && in[13] == -1);
    MPI_Type_create_indexed_block(4, 2, same, MPI_INT, &blocks);
    MPI_Type_commit(&blocks);
    swap(out, 1, blocks, in, 8, MPI_INT);
    for (int i = 0; i < 8; i++) CHECK(in[i] == before * 100 + same[i / 2] + i % 2);
    MPI_Aint far[2] = {8, 40};
    int two[2] = {1, 2};
    MPI_Type_create_hindexed(2, two, far, MPI_INT, &bytes);
    MPI_Type_commit(&bytes);
    swap(out, 1, bytes, in, 3, MPI_INT);
    CHECK(in[0] == before * 100 + 2 && in[1] == before * 100 + 10 && in[2] == before * 100 + 11);
    MPI_Type_free(&some), MPI_Type_free(&blocks), MPI_Type_free(&bytes);
}

static void subarrays(void) {
    int sizes[3] = {6, 5, 4}, parts[3] = {2, 3, 2}, starts[3] = {1, 2, 1}, in[12], at = 0;
    int out[6][5][4];
    MPI_Datatype box;
    for (int i = 0; i < 120; i++) ((int *)out)[i] = rank * 1000 + i;
    MPI_Type_create_subarray(3, sizes, parts, starts, MPI_ORDER_C, MPI_INT, &box);
    MPI_Type_commit(&box);
    swap(out, 1, box, in, 12, MPI_INT);
    for (int i = 1; i < 3; i++)
        for (int j = 2; j < 5; j++)
            for (int k = 1; k < 3; k++) CHECK(in[at++] == before * 1000 + (i * 5 + j) * 4 + k);
    MPI_Aint lower, extent;
    MPI_Type_get_extent(box, &lower, &extent);
    CHECK(extent == (MPI_Aint)sizeof out);
    MPI_Type_free(&box);
}

static void packing(void) {
    char buffer[400];
    int place = 0, bound, count = 7, got_count;
    double numbers[7], got[7];
    for (int i = 0; i < 7; i++) numbers[i] = rank + i * 0.25;
    MPI_Pack_size(7, MPI_DOUBLE, MPI_COMM_WORLD, &bound);
    CHECK(bound >= (int)sizeof numbers);
    MPI_Pack(&count, 1, MPI_INT, buffer, sizeof buffer, &place, MPI_COMM_WORLD);
    MPI_Pack(numbers, 7, MPI_DOUBLE, buffer, sizeof buffer, &place, MPI_COMM_WORLD);
    char in[400];
    MPI_Status status;
    MPI_Sendrecv(buffer, place, MPI_PACKED, next, 9, in, sizeof in, MPI_PACKED, before, 9,
                 MPI_COMM_WORLD, &status);
    int bytes;
    MPI_Get_count(&status, MPI_PACKED, &bytes);
    CHECK(bytes == place);
    place = 0;
    MPI_Unpack(in, bytes, &place, &got_count, 1, MPI_INT, MPI_COMM_WORLD);
    MPI_Unpack(in, bytes, &place, got, got_count, MPI_DOUBLE, MPI_COMM_WORLD);
    for (int i = 0; i < got_count; i++) CHECK(got[i] == before + i * 0.25);
    CHECK(got_count == 7 && place == bytes);
}

/* A large matrix is sent by columns and received by rows: transposed on its way. */
static void transposed(void) {
    enum { M = 300 };
    double *out = malloc(M * M * sizeof *out), *in = malloc(M * M * sizeof *in);
    MPI_Datatype column, all;
    for (int i = 0; i < M * M; i++) out[i] = rank * 1e6 + i;
    MPI_Type_vector(M, 1, M, MPI_DOUBLE, &column);
    MPI_Type_create_hvector(M, 1, sizeof(double), column, &all);
    MPI_Type_commit(&all);
    swap(out, 1, all, in, M * M, MPI_DOUBLE);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) CHECK(in[i * M + j] == before * 1e6 + j * M + i);
    MPI_Type_free(&column), MPI_Type_free(&all);
    free(out), free(in);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    next = (rank + 1) % size, before = (rank + size - 1) % size;
    columns();
    structures();
    indexed();
    subarrays();
    packing();
    transposed();
    return end();
}
