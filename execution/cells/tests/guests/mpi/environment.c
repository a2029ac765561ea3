/* What a program may ask before, after and of its surroundings. */
#include "check.h"

static int handled;

static void handler(MPI_Comm *comm, int *error, ...) {
    (void)comm, (void)error;
    handled++;
}

int main(int argc, char **argv) {
    int flag, provided, version, subversion, length, level, class;
    char name[MPI_MAX_PROCESSOR_NAME], library[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Initialized(&flag);
    CHECK(!flag);
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    CHECK(provided >= MPI_THREAD_SINGLE && provided <= MPI_THREAD_MULTIPLE);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Query_thread(&level);
    CHECK(level == provided);
    MPI_Initialized(&flag);
    CHECK(flag);
    MPI_Finalized(&flag);
    CHECK(!flag);
    MPI_Get_version(&version, &subversion);
    CHECK(version == 3);
    MPI_Get_library_version(library, &length);
    CHECK(length > 0);
    MPI_Get_processor_name(name, &length);
    CHECK(length > 0 && (int)strlen(name) == length);
    double before = MPI_Wtime();
    CHECK(MPI_Wtick() > 0 && MPI_Wtick() < 0.1);
    for (int i = 0; i < 100; i++) MPI_Barrier(MPI_COMM_WORLD);
    CHECK(MPI_Wtime() >= before);

    MPI_Errhandler own;
    MPI_Comm_create_errhandler(handler, &own);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, own);
    int value = 0, error = MPI_Send(&value, 1, MPI_INT, size + 5, 0, MPI_COMM_WORLD);
    MPI_Error_class(error, &class);
    CHECK(handled == 1 && class == MPI_ERR_RANK);
    error = MPI_Send(&value, -1, MPI_INT, 0, 0, MPI_COMM_WORLD);
    MPI_Error_class(error, &class);
    CHECK(handled == 2 && class == MPI_ERR_COUNT);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    MPI_Errhandler_free(&own);

    MPI_Info info;
    char text[20];
    MPI_Info_create(&info);
    MPI_Info_set(info, "key", "value");
    MPI_Info_get(info, "key", 19, text, &flag);
    CHECK(flag && strcmp(text, "value") == 0);
    MPI_Info_get(info, "none", 19, text, &flag);
    CHECK(!flag);
    MPI_Info_free(&info);
    MPI_Finalize();
    MPI_Finalized(&flag);
    CHECK(flag);
    if (rank == 0) printf("ok\n");
    return 0;
}
