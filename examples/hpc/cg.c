/* Conjugate gradients for the five-point Laplacian of a square grid, without storing the matrix. */
#include "kernel.h"

static int side, low, high, rows;

/* y = A x, where x has a row of each neighbour before and behind it. */
static void multiply(double *x, double *y) {
#ifdef USE_MPI
    int above = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    int below = rank + 1 < ranks ? rank + 1 : MPI_PROC_NULL;
    MPI_Sendrecv(x + side, side, MPI_DOUBLE, above, 1, x + (rows + 1) * side, side, MPI_DOUBLE,
                 below, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    MPI_Sendrecv(x + rows * side, side, MPI_DOUBLE, below, 2, x, side, MPI_DOUBLE, above, 2,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
#endif
#pragma omp parallel for
    for (int i = 0; i < rows; i++) {
        double *here = x + (i + 1) * side;
        for (int j = 0; j < side; j++) {
            double sum = 4 * here[j] - here[j - side] - here[j + side];
            if (j > 0) sum -= here[j - 1];
            if (j + 1 < side) sum -= here[j + 1];
            y[i * side + j] = sum;
        }
    }
}

static double dot(const double *a, const double *b, int count) {
    double sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < count; i++) sum += a[i] * b[i];
    return total(sum);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    side = argument(argc, argv, 1, 300);
    int times = argument(argc, argv, 2, 200);
    low = first_of(side, rank), high = first_of(side, rank + 1), rows = high - low;
    int count = rows * side;
    size_t padded = sizeof(double) * (count + 2 * side), plain = sizeof(double) * (count + 1);
    double *x = room(padded), *p = room(padded), *r = room(plain), *q = room(plain);
    double *b = room(plain);
    memset(p, 0, padded);
    /* The right-hand side of a known solution. */
    for (int i = -1; i <= rows; i++)
        for (int j = 0; j < side; j++) {
            int inside = low + i >= 0 && low + i < side;
            x[(i + 1) * side + j] = inside ? sin(0.1 * (low + i)) + cos(0.2 * j) : 0;
        }
    multiply(x, b);
    double *solution = room(plain);
    memcpy(solution, x + side, sizeof(double) * count);
    memset(x, 0, padded);
    memcpy(r, b, sizeof(double) * count);
    memcpy(p + side, b, sizeof(double) * count);
    together();
    double seconds = now(), rr = dot(r, r, count), first = rr;
    for (int time = 0; time < times && rr > first * 1e-24; time++) {
        multiply(p, q);
        double alpha = rr / dot(p + side, q, count);
#pragma omp parallel for
        for (int i = 0; i < count; i++) {
            x[side + i] += alpha * p[side + i];
            r[i] -= alpha * q[i];
        }
        double next = dot(r, r, count), beta = next / rr;
        rr = next;
#pragma omp parallel for
        for (int i = 0; i < count; i++) p[side + i] = r[i] + beta * p[side + i];
    }
    seconds = now() - seconds;
    /* The error in the energy norm falls in every step; the residual must be the true one. */
    multiply(x, q);
    double error = 0, apart = 0, scale = 0;
    for (int i = 0; i < count; i++) {
        double residual = b[i] - q[i] - r[i], off = x[side + i] - solution[i];
        error += residual * residual, apart += off * off, scale += solution[i] * solution[i];
    }
    error = sqrt(total(error)), apart = sqrt(total(apart) / total(scale));
    int enough = times >= 4 * side;
    int right = error < 1e-9 * sqrt(first) * side && (!enough || apart < 1e-8) && rr < first;
    if (rank == 0) printf("cg: residual %.17g\n", sqrt(rr));
    return end("cg", seconds, times, right);
}
