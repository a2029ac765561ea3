/* Communicators and groups: what is split, duplicated and compared; attributes and names. */
#include "check.h"

static int deleted;

static int copy(MPI_Comm comm, int key, void *extra, void *in, void *out, int *flag) {
    (void)comm, (void)key;
    *(void **)out = (char *)in + *(int *)extra;
    *flag = 1;
    return MPI_SUCCESS;
}

static int forget(MPI_Comm comm, int key, void *value, void *extra) {
    (void)comm, (void)key, (void)value, (void)extra;
    deleted++;
    return MPI_SUCCESS;
}

static void split(void) {
    MPI_Comm half, same;
    int part, parts, sum;
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
    MPI_Comm_rank(half, &part);
    MPI_Comm_size(half, &parts);
    CHECK(parts == (size + (rank % 2 == 0)) / 2);
    CHECK(part == parts - 1 - rank / 2);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
    int expected = 0;
    for (int i = rank % 2; i < size; i += 2) expected += i;
    CHECK(sum == expected);
    MPI_Comm_split(MPI_COMM_WORLD, rank == 0 ? MPI_UNDEFINED : 1, 0, &same);
    CHECK((same == MPI_COMM_NULL) == (rank == 0));
    if (same != MPI_COMM_NULL) {
        MPI_Comm_size(same, &parts);
        CHECK(parts == size - 1);
        MPI_Comm_free(&same);
    }
    MPI_Comm_free(&half);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &same);
    MPI_Comm_size(same, &parts);
    CHECK(parts >= 1 && parts <= size);
    MPI_Comm_free(&same);
}

/* A duplicate has messages of its own. */
static void duplicate(void) {
    MPI_Comm other;
    int a = rank, b = rank + 100, in = -1, result, next = (rank + 1) % size;
    int before = (rank + size - 1) % size;
    MPI_Request requests[2];
    MPI_Comm_dup(MPI_COMM_WORLD, &other);
    MPI_Comm_compare(MPI_COMM_WORLD, other, &result);
    CHECK(result == MPI_CONGRUENT);
    MPI_Comm_compare(MPI_COMM_WORLD, MPI_COMM_WORLD, &result);
    CHECK(result == MPI_IDENT);
    MPI_Isend(&a, 1, MPI_INT, next, 1, MPI_COMM_WORLD, &requests[0]);
    MPI_Isend(&b, 1, MPI_INT, next, 1, other, &requests[1]);
    MPI_Recv(&in, 1, MPI_INT, before, 1, other, MPI_STATUS_IGNORE);
    CHECK(in == before + 100);
    MPI_Recv(&in, 1, MPI_INT, before, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    CHECK(in == before);
    MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
    char name[MPI_MAX_OBJECT_NAME];
    int length;
    MPI_Comm_set_name(other, "another");
    MPI_Comm_get_name(other, name, &length);
    CHECK(strcmp(name, "another") == 0 && length == 7);
    MPI_Comm_get_name(MPI_COMM_WORLD, name, &length);
    CHECK(strcmp(name, "MPI_COMM_WORLD") == 0);
    MPI_Comm_free(&other);
}

static void groups(void) {
    MPI_Group world, evens, odds, both, none;
    int count, place, result, *even = malloc((size + 1) * sizeof *even), evens_count = 0;
    for (int i = 0; i < size; i += 2) even[evens_count++] = i;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Group_incl(world, evens_count, even, &evens);
    MPI_Group_excl(world, evens_count, even, &odds);
    MPI_Group_size(odds, &count);
    CHECK(count == size - evens_count);
    MPI_Group_rank(evens, &place);
    CHECK(place == (rank % 2 ? MPI_UNDEFINED : rank / 2));
    MPI_Group_union(evens, odds, &both);
    MPI_Group_compare(both, world, &result);
    CHECK(result == (size > 2 ? MPI_SIMILAR : MPI_IDENT));
    MPI_Group_intersection(evens, odds, &none);
    CHECK(none == MPI_GROUP_EMPTY || (MPI_Group_size(none, &count), count == 0));
    int all[1] = {size - 1}, translated;
    MPI_Group_translate_ranks(world, 1, all, evens, &translated);
    CHECK(translated == ((size - 1) % 2 ? MPI_UNDEFINED : (size - 1) / 2));
    MPI_Comm of_evens;
    MPI_Comm_create(MPI_COMM_WORLD, evens, &of_evens);
    CHECK((of_evens == MPI_COMM_NULL) == (rank % 2 == 1));
    if (of_evens != MPI_COMM_NULL) {
        int sum, one = 1;
        MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, of_evens);
        CHECK(sum == evens_count);
        MPI_Comm_free(&of_evens);
        MPI_Comm_create_group(MPI_COMM_WORLD, evens, 3, &of_evens);
        MPI_Comm_size(of_evens, &sum);
        CHECK(sum == evens_count);
        MPI_Comm_free(&of_evens);
    }
    MPI_Group_free(&world), MPI_Group_free(&evens), MPI_Group_free(&odds), MPI_Group_free(&both);
    if (none != MPI_GROUP_EMPTY) MPI_Group_free(&none);
    free(even);
}

static void attributes(void) {
    int key, flag, step = 3, *upper;
    char text[10];
    void *found;
    MPI_Comm other;
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &upper, &flag);
    CHECK(flag && *upper >= 32767);
    MPI_Comm_create_keyval(copy, forget, &key, &step);
    MPI_Comm_get_attr(MPI_COMM_WORLD, key, &found, &flag);
    CHECK(!flag);
    MPI_Comm_set_attr(MPI_COMM_WORLD, key, text);
    MPI_Comm_get_attr(MPI_COMM_WORLD, key, &found, &flag);
    CHECK(flag && found == text);
    MPI_Comm_dup(MPI_COMM_WORLD, &other);
    MPI_Comm_get_attr(other, key, &found, &flag);
    CHECK(flag && found == text + 3);
    MPI_Comm_free(&other);
    CHECK(deleted == 1);
    MPI_Comm_delete_attr(MPI_COMM_WORLD, key);
    CHECK(deleted == 2);
    MPI_Comm_free_keyval(&key);
    CHECK(key == MPI_KEYVAL_INVALID);
}

int main(int argc, char **argv) {
    begin(&argc, &argv);
    split();
    duplicate();
    groups();
    attributes();
    return end();
}
