/* Integers by merge sort: by tasks within a rank, by samples among ranks. */
#include "kernel.h"

static void merge(const unsigned *a, int na, const unsigned *b, int nb, unsigned *to) {
    int i = 0, j = 0;
    while (i < na && j < nb) *to++ = b[j] < a[i] ? b[j++] : a[i++];
    memcpy(to, a + i, sizeof *a * (na - i));
    memcpy(to + na - i, b + j, sizeof *b * (nb - j));
}

static void sort(unsigned *data, unsigned *spare, int count) {
    if (count <= 32) {
        for (int i = 1; i < count; i++) {
            unsigned value = data[i];
            int j = i;
            for (; j > 0 && data[j - 1] > value; j--) data[j] = data[j - 1];
            data[j] = value;
        }
        return;
    }
    int half = count / 2;
#pragma omp task if (count > 4096)
    sort(data, spare, half);
#pragma omp task if (count > 4096)
    sort(data + half, spare + half, count - half);
#pragma omp taskwait
    memcpy(spare, data, sizeof *data * count);
    merge(spare, half, spare + half, count - half, data);
}

#ifdef USE_MPI
static int compare(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

/* Every rank gets the values between two splitters; gives how many, and them. */
static int scatter(unsigned *data, int count, unsigned **got) {
    unsigned *samples = room(sizeof *samples * ranks * ranks), *own = room(sizeof *own * ranks);
    int *out = calloc(ranks, sizeof *out), *in = room(sizeof *in * ranks), received = 0;
    int *out_at = calloc(ranks + 1, sizeof *out_at), *in_at = room(sizeof *in_at * ranks);
    for (int i = 0; i < ranks; i++) own[i] = data[(long long)count * i / ranks];
    MPI_Allgather(own, ranks, MPI_UNSIGNED, samples, ranks, MPI_UNSIGNED, MPI_COMM_WORLD);
    qsort(samples, (size_t)ranks * ranks, sizeof *samples, compare);
    int to = 0;
    for (int i = 0; i < count; i++) {
        while (to + 1 < ranks && data[i] >= samples[(to + 1) * ranks]) to++;
        out[to]++;
    }
    for (int i = 0; i < ranks; i++) out_at[i + 1] = out_at[i] + out[i];
    MPI_Alltoall(out, 1, MPI_INT, in, 1, MPI_INT, MPI_COMM_WORLD);
    for (int i = 0; i < ranks; i++) in_at[i] = received, received += in[i];
    *got = room(sizeof **got * received);
    MPI_Alltoallv(data, out, out_at, MPI_UNSIGNED, *got, in, in_at, MPI_UNSIGNED, MPI_COMM_WORLD);
    free(samples), free(own), free(out), free(in), free(out_at), free(in_at);
    return received;
}
#endif

static void sort_all(unsigned *data, int count) {
    unsigned *spare = room(sizeof *spare * count);
#pragma omp parallel
#pragma omp single
    sort(data, spare, count);
    free(spare);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    int n = argument(argc, argv, 1, 1000000), times = argument(argc, argv, 2, 3);
    int count = first_of(n, rank + 1) - first_of(n, rank), right = 1;
    double seconds = 0;
    for (int time = 0; time <= times; time++) {
        unsigned *data = room(sizeof *data * (count + 1)), seed = 77 + rank * 7919 + time;
        double before = 0, after = 0, held = 0;
        for (int i = 0; i < count; i++)
            seed = seed * 1664525u + 1013904223u, data[i] = seed >> 4, before += data[i];
        if (time == 1) together(), seconds = now();
        int mine = count;
        sort_all(data, count);
#ifdef USE_MPI
        unsigned *got;
        mine = scatter(data, count, &got);
        free(data), data = got;
        sort_all(data, mine);
#endif
        for (int i = 0; i < mine; i++) after += data[i], right &= i == 0 || data[i - 1] <= data[i];
        held = total(mine);
        before = total(before), after = total(after);
        right &= before == after && held == n;
#ifdef USE_MPI
        /* The last value of each rank is at most the first of the next that has any. */
        unsigned edges[2] = {mine ? data[0] : 0xffffffffu, mine ? data[mine - 1] : 0}, last = 0;
        unsigned *all = room(sizeof edges * ranks);
        MPI_Allgather(edges, 2, MPI_UNSIGNED, all, 2, MPI_UNSIGNED, MPI_COMM_WORLD);
        for (int i = 0; i < ranks; i++) {
            right &= all[2 * i] >= last;
            if (all[2 * i + 1] > last) last = all[2 * i + 1];
        }
        free(all);
#endif
        free(data);
    }
    seconds = now() - seconds;
    return end("sort", seconds, times, right);
}
