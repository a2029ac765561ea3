/* Operations of reductions over their types, pairs, operations of the program, and their order. */
#include "check.h"

#define EACH(type, mpi, op, start, combine)                                                       \
    do {                                                                                          \
        type mine = (type)(rank + 1), all = 0, expected = (type)(start);                          \
        for (int i = 1; i <= size; i++) {                                                         \
            type a = expected, b = (type)i;                                                       \
            expected = i == 1 ? b : (type)(combine);                                              \
        }                                                                                         \
        MPI_Allreduce(&mine, &all, 1, mpi, op, MPI_COMM_WORLD);                                   \
        CHECK(all == expected);                                                                   \
    } while (0)

#define INTEGER(type, mpi)                                                                        \
    do {                                                                                          \
        EACH(type, mpi, MPI_SUM, 0, a + b);                                                       \
        EACH(type, mpi, MPI_PROD, 1, a * b);                                                      \
        EACH(type, mpi, MPI_MAX, 0, a > b ? a : b);                                               \
        EACH(type, mpi, MPI_MIN, 0, a < b ? a : b);                                               \
        EACH(type, mpi, MPI_BAND, 0, a & b);                                                      \
        EACH(type, mpi, MPI_BOR, 0, a | b);                                                       \
        EACH(type, mpi, MPI_BXOR, 0, a ^ b);                                                      \
        EACH(type, mpi, MPI_LAND, 0, a && b);                                                     \
        EACH(type, mpi, MPI_LOR, 0, a || b);                                                      \
    } while (0)

static void pairs(void) {
    struct { double value; int place; } mine = {(rank * 7) % 5, rank}, best, expected;
    MPI_Allreduce(&mine, &best, 1, MPI_DOUBLE_INT, MPI_MAXLOC, MPI_COMM_WORLD);
    expected.value = -1, expected.place = -1;
    for (int i = 0; i < size; i++)
        if ((i * 7) % 5 > expected.value) expected.value = (i * 7) % 5, expected.place = i;
    CHECK(best.value == expected.value && best.place == expected.place);
    struct { int value; int place; } whole = {5 - rank % 3, rank}, least;
    MPI_Allreduce(&whole, &least, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD);
    CHECK(least.value == (size > 2 ? 3 : size > 1 ? 4 : 5));
    CHECK(least.place == (size > 2 ? 2 : size - 1));
}

/* Composition of affine maps: associative, and the order shows. */
static void compose(void *in, void *inout, int *count, MPI_Datatype *type) {
    (void)type;
    long *a = in, *b = inout;
    for (int i = 0; i < *count; i++, a += 2, b += 2) {
        long factor = a[0] * b[0] % 1000003, shift = (a[1] * b[0] + b[1]) % 1000003;
        b[0] = factor, b[1] = shift;
    }
}

static void of_the_program(void) {
    MPI_Op op;
    MPI_Datatype map;
    MPI_Op_create(compose, 0, &op);
    MPI_Type_contiguous(2, MPI_LONG, &map);
    MPI_Type_commit(&map);
    long mine[2] = {rank + 2, rank * 3 + 1}, all[2] = {0, 0}, expected[2] = {2, 1};
    for (int i = 1; i < size; i++) {
        long factor = expected[0] * (i + 2) % 1000003;
        long shift = (expected[1] * (i + 2) + i * 3 + 1) % 1000003;
        expected[0] = factor, expected[1] = shift;
    }
    MPI_Allreduce(mine, all, 1, map, op, MPI_COMM_WORLD);
    CHECK(all[0] == expected[0] && all[1] == expected[1]);
    MPI_Reduce(mine, all, 1, map, op, size - 1, MPI_COMM_WORLD);
    if (rank == size - 1) CHECK(all[0] == expected[0] && all[1] == expected[1]);
    MPI_Op_free(&op);
    MPI_Type_free(&map);
    CHECK(op == MPI_OP_NULL && map == MPI_DATATYPE_NULL);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    INTEGER(int, MPI_INT);
    INTEGER(unsigned, MPI_UNSIGNED);
    INTEGER(signed char, MPI_SIGNED_CHAR);
    INTEGER(unsigned char, MPI_UNSIGNED_CHAR);
    INTEGER(short, MPI_SHORT);
    INTEGER(unsigned short, MPI_UNSIGNED_SHORT);
    INTEGER(long, MPI_LONG);
    INTEGER(unsigned long, MPI_UNSIGNED_LONG);
    INTEGER(long long, MPI_LONG_LONG);
    INTEGER(unsigned long long, MPI_UNSIGNED_LONG_LONG);
    EACH(float, MPI_FLOAT, MPI_SUM, 0, a + b);
    EACH(float, MPI_FLOAT, MPI_PROD, 1, a * b);
    EACH(double, MPI_DOUBLE, MPI_MAX, 0, a > b ? a : b);
    EACH(double, MPI_DOUBLE, MPI_MIN, 0, a < b ? a : b);
    pairs();
    of_the_program();
    return end();
}
