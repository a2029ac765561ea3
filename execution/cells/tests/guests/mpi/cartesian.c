/* Cartesian topologies: coordinates there and back, neighbours, slices. */
#include "check.h"

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int dims[2] = {0, 0}, around[2] = {1, 0}, place[2], back, left, right, up, down;
    MPI_Dims_create(size, 2, dims);
    CHECK(dims[0] * dims[1] == size && dims[0] >= dims[1]);
    int fixed[3] = {0, 1, 0};
    MPI_Dims_create(size, 3, fixed);
    CHECK(fixed[0] * fixed[2] == size && fixed[1] == 1);
    MPI_Comm grid, row;
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, around, 0, &grid);
    MPI_Cart_coords(grid, rank, 2, place);
    CHECK(place[0] == rank / dims[1] && place[1] == rank % dims[1]);
    MPI_Cart_rank(grid, place, &back);
    CHECK(back == rank);
    int over[2] = {place[0] + dims[0], place[1]};
    MPI_Cart_rank(grid, over, &back);
    CHECK(back == rank);
    MPI_Cart_shift(grid, 0, 1, &left, &right);
    MPI_Cart_shift(grid, 1, 1, &up, &down);
    CHECK(right == (place[0] + 1) % dims[0] * dims[1] + place[1]);
    CHECK(down == (place[1] + 1 < dims[1] ? rank + 1 : MPI_PROC_NULL));
    int got = -1, kind, count;
    MPI_Sendrecv(&rank, 1, MPI_INT, right, 0, &got, 1, MPI_INT, left, 0, grid, MPI_STATUS_IGNORE);
    CHECK(got == left);
    got = -1;
    MPI_Sendrecv(&rank, 1, MPI_INT, down, 0, &got, 1, MPI_INT, up, 0, grid, MPI_STATUS_IGNORE);
    CHECK(got == (up == MPI_PROC_NULL ? -1 : up));
    MPI_Topo_test(grid, &kind);
    MPI_Cartdim_get(grid, &count);
    CHECK(kind == MPI_CART && count == 2);
    int kept[2] = {0, 1}, in_row, row_size, sum;
    MPI_Cart_sub(grid, kept, &row);
    MPI_Comm_rank(row, &in_row);
    MPI_Comm_size(row, &row_size);
    CHECK(in_row == place[1] && row_size == dims[1]);
    MPI_Allreduce(&place[0], &sum, 1, MPI_INT, MPI_SUM, row);
    CHECK(sum == place[0] * dims[1]);
    int dims_back[2], around_back[2], place_back[2];
    MPI_Cart_get(grid, 2, dims_back, around_back, place_back);
    CHECK(dims_back[0] == dims[0] && around_back[0] && !around_back[1] && place_back[1] == place[1]);
    MPI_Topo_test(MPI_COMM_WORLD, &kind);
    CHECK(kind == MPI_UNDEFINED);
    MPI_Comm_free(&row);
    MPI_Comm_free(&grid);
    return end();
}
