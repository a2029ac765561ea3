/* A sparse matrix, the five-point Laplacian of a square grid by compressed rows, times a vector. */
#include "kernel.h"

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int side = argument(argc, argv, 1, 500), times = argument(argc, argv, 2, 20);
    int n = side * side, low = first_of(n, rank), high = first_of(n, rank + 1), rows = high - low;
    int *starts = room(sizeof(int) * (rows + 1)), *places = room(sizeof(int) * 5 * rows);
    double *values = room(sizeof(double) * 5 * rows), *x = room(sizeof(double) * n);
    double *y = room(sizeof(double) * rows);
    int count = 0;
    for (int row = low; row < high; row++) {
        int i = row / side, j = row % side;
        starts[row - low] = count;
        if (i > 0) places[count] = row - side, values[count++] = -1;
        if (j > 0) places[count] = row - 1, values[count++] = -1;
        places[count] = row, values[count++] = 4;
        if (j + 1 < side) places[count] = row + 1, values[count++] = -1;
        if (i + 1 < side) places[count] = row + side, values[count++] = -1;
    }
    starts[rows] = count;
    for (int i = 0; i < n; i++) x[i] = 0;
    for (int i = low; i < high; i++) x[i] = 1 + i % 3;
#ifdef USE_MPI
    int *counts = room(sizeof(int) * ranks), *firsts = room(sizeof(int) * ranks);
    for (int i = 0; i < ranks; i++)
        firsts[i] = first_of(n, i), counts[i] = first_of(n, i + 1) - firsts[i];
#endif
    double seconds = 0;
    for (int time = 0; time <= times; time++) {
        if (time == 1) together(), seconds = now();
#ifdef USE_MPI
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, x, counts, firsts, MPI_DOUBLE,
                       MPI_COMM_WORLD);
#endif
#pragma omp parallel for
        for (int row = 0; row < rows; row++) {
            double sum = 0;
            for (int k = starts[row]; k < starts[row + 1]; k++) sum += values[k] * x[places[k]];
            y[row] = sum;
        }
    }
    seconds = now() - seconds;
    double error = 0;
    for (int row = low; row < high; row++) {
        int i = row / side, j = row % side;
        double expected = 4.0 * (1 + row % 3);
        if (i > 0) expected -= 1 + (row - side) % 3;
        if (j > 0) expected -= 1 + (row - 1) % 3;
        if (j + 1 < side) expected -= 1 + (row + 1) % 3;
        if (i + 1 < side) expected -= 1 + (row + side) % 3;
        error += fabs(y[row - low] - expected);
    }
    return end("spmv", seconds, times, total(error) == 0);
}
