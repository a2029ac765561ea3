/* MPI for cells: the C interface of the engine in CloudSkin, for wasm32. Handles are integers; what
 * is not declared here does not exist, and a program that calls it does not compile or link. */
#ifndef CLOUDSKIN_MPI_H
#define CLOUDSKIN_MPI_H

#ifdef __cplusplus
extern "C" {
#endif

/* Each function is an import of the module `cloudskin_mpi`. */
#define MPI_IMPORT_(name) \
    __attribute__((__import_module__("cloudskin_mpi"), __import_name__(#name)))

typedef int MPI_Comm;
typedef int MPI_Group;
typedef int MPI_Datatype;
typedef int MPI_Op;
typedef int MPI_Request;
typedef int MPI_Message;
typedef int MPI_Errhandler;
typedef int MPI_Info;
typedef int MPI_Win;
typedef long MPI_Aint;
typedef long long MPI_Count;
typedef long long MPI_Offset;
typedef int MPI_Fint;

typedef struct MPI_Status {
    int MPI_SOURCE;
    int MPI_TAG;
    int MPI_ERROR;
    int cancelled_;
    long long bytes_;
} MPI_Status;

typedef void MPI_User_function(void *in, void *inout, int *len, MPI_Datatype *datatype);
typedef int MPI_Comm_copy_attr_function(MPI_Comm comm, int keyval, void *extra, void *value_in,
                                        void *value_out, int *flag);
typedef int MPI_Comm_delete_attr_function(MPI_Comm comm, int keyval, void *value, void *extra);
typedef int MPI_Type_copy_attr_function(MPI_Datatype datatype, int keyval, void *extra, void *value_in,
                                        void *value_out, int *flag);
typedef int MPI_Type_delete_attr_function(MPI_Datatype datatype, int keyval, void *value, void *extra);
typedef int MPI_Win_copy_attr_function(MPI_Win win, int keyval, void *extra, void *value_in,
                                       void *value_out, int *flag);
typedef int MPI_Win_delete_attr_function(MPI_Win win, int keyval, void *value, void *extra);
typedef void MPI_Comm_errhandler_function(MPI_Comm *comm, int *code, ...);
typedef void MPI_Win_errhandler_function(MPI_Win *win, int *code, ...);
typedef MPI_Comm_errhandler_function MPI_Comm_errhandler_fn;
typedef MPI_Win_errhandler_function MPI_Win_errhandler_fn;

/* Error classes, which are the error codes too */
#define MPI_SUCCESS                     0
#define MPI_ERR_BUFFER                  1
#define MPI_ERR_COUNT                   2
#define MPI_ERR_TYPE                    3
#define MPI_ERR_TAG                     4
#define MPI_ERR_COMM                    5
#define MPI_ERR_RANK                    6
#define MPI_ERR_ROOT                    7
#define MPI_ERR_GROUP                   8
#define MPI_ERR_OP                      9
#define MPI_ERR_TOPOLOGY                10
#define MPI_ERR_DIMS                    11
#define MPI_ERR_ARG                     12
#define MPI_ERR_UNKNOWN                 13
#define MPI_ERR_TRUNCATE                14
#define MPI_ERR_OTHER                   15
#define MPI_ERR_INTERN                  16
#define MPI_ERR_IN_STATUS               17
#define MPI_ERR_PENDING                 18
#define MPI_ERR_REQUEST                 19
#define MPI_ERR_KEYVAL                  20
#define MPI_ERR_NO_MEM                  21
#define MPI_ERR_BASE                    22
#define MPI_ERR_INFO_KEY                23
#define MPI_ERR_INFO_VALUE              24
#define MPI_ERR_INFO_NOKEY              25
#define MPI_ERR_INFO                    26
#define MPI_ERR_WIN                     27
#define MPI_ERR_SIZE                    28
#define MPI_ERR_DISP                    29
#define MPI_ERR_LOCKTYPE                30
#define MPI_ERR_ASSERT                  31
#define MPI_ERR_RMA_CONFLICT            32
#define MPI_ERR_RMA_SYNC                33
#define MPI_ERR_RMA_RANGE               34
#define MPI_ERR_NAME                    35
#define MPI_ERR_UNSUPPORTED_OPERATION   36
#define MPI_ERR_RMA_SHARED              37
#define MPI_ERR_RMA_ATTACH              38
#define MPI_ERR_RMA_FLAVOR              39
#define MPI_ERR_LASTCODE                40

/* Wildcards and special ranks */
#define MPI_ANY_SOURCE                  (-1)
#define MPI_ANY_TAG                     (-1)
#define MPI_PROC_NULL                   (-2)
#define MPI_ROOT                        (-3)
#define MPI_UNDEFINED                   (-32766)

/* Results of comparisons */
#define MPI_IDENT                       0
#define MPI_CONGRUENT                   1
#define MPI_SIMILAR                     2
#define MPI_UNEQUAL                     3

/* Levels of thread support */
#define MPI_THREAD_SINGLE               0
#define MPI_THREAD_FUNNELED             1
#define MPI_THREAD_SERIALIZED           2
#define MPI_THREAD_MULTIPLE             3

/* Handles */
#define MPI_COMM_NULL                   ((MPI_Comm)0)
#define MPI_COMM_WORLD                  ((MPI_Comm)1)
#define MPI_COMM_SELF                   ((MPI_Comm)2)
#define MPI_GROUP_NULL                  ((MPI_Group)0)
#define MPI_GROUP_EMPTY                 ((MPI_Group)1)
#define MPI_REQUEST_NULL                ((MPI_Request)0)
#define MPI_OP_NULL                     ((MPI_Op)0)
#define MPI_DATATYPE_NULL               ((MPI_Datatype)0)
#define MPI_INFO_NULL                   ((MPI_Info)0)
#define MPI_INFO_ENV                    ((MPI_Info)1)
#define MPI_WIN_NULL                    ((MPI_Win)0)
#define MPI_MESSAGE_NULL                ((MPI_Message)0)
#define MPI_MESSAGE_NO_PROC             ((MPI_Message)1)
#define MPI_ERRHANDLER_NULL             ((MPI_Errhandler)0)
#define MPI_ERRORS_ARE_FATAL            ((MPI_Errhandler)1)
#define MPI_ERRORS_RETURN               ((MPI_Errhandler)2)
#define MPI_KEYVAL_INVALID              0

/* Special addresses */
#define MPI_BOTTOM                      ((void *)0)
#define MPI_IN_PLACE                    ((void *)-1)
#define MPI_UNWEIGHTED                  ((int *)-3)
#define MPI_WEIGHTS_EMPTY               ((int *)-4)
#define MPI_STATUS_IGNORE               ((MPI_Status *)0)
#define MPI_STATUSES_IGNORE             ((MPI_Status *)0)
#define MPI_COMM_NULL_COPY_FN           ((MPI_Comm_copy_attr_function *)0)
#define MPI_COMM_NULL_DELETE_FN         ((MPI_Comm_delete_attr_function *)0)
#define MPI_COMM_DUP_FN                 ((MPI_Comm_copy_attr_function *)-2)
#define MPI_TYPE_NULL_COPY_FN           ((MPI_Type_copy_attr_function *)0)
#define MPI_TYPE_NULL_DELETE_FN         ((MPI_Type_delete_attr_function *)0)
#define MPI_TYPE_DUP_FN                 ((MPI_Type_copy_attr_function *)-2)
#define MPI_WIN_NULL_COPY_FN            ((MPI_Win_copy_attr_function *)0)
#define MPI_WIN_NULL_DELETE_FN          ((MPI_Win_delete_attr_function *)0)
#define MPI_WIN_DUP_FN                  ((MPI_Win_copy_attr_function *)-2)

/* Datatypes */
#define MPI_CHAR                        ((MPI_Datatype)1)
#define MPI_SIGNED_CHAR                 ((MPI_Datatype)2)
#define MPI_UNSIGNED_CHAR               ((MPI_Datatype)3)
#define MPI_BYTE                        ((MPI_Datatype)4)
#define MPI_WCHAR                       ((MPI_Datatype)5)
#define MPI_SHORT                       ((MPI_Datatype)6)
#define MPI_UNSIGNED_SHORT              ((MPI_Datatype)7)
#define MPI_INT                         ((MPI_Datatype)8)
#define MPI_UNSIGNED                    ((MPI_Datatype)9)
#define MPI_LONG                        ((MPI_Datatype)10)
#define MPI_UNSIGNED_LONG               ((MPI_Datatype)11)
#define MPI_LONG_LONG_INT               ((MPI_Datatype)12)
#define MPI_UNSIGNED_LONG_LONG          ((MPI_Datatype)13)
#define MPI_FLOAT                       ((MPI_Datatype)14)
#define MPI_DOUBLE                      ((MPI_Datatype)15)
#define MPI_LONG_DOUBLE                 ((MPI_Datatype)16)
#define MPI_C_BOOL                      ((MPI_Datatype)17)
#define MPI_INT8_T                      ((MPI_Datatype)18)
#define MPI_INT16_T                     ((MPI_Datatype)19)
#define MPI_INT32_T                     ((MPI_Datatype)20)
#define MPI_INT64_T                     ((MPI_Datatype)21)
#define MPI_UINT8_T                     ((MPI_Datatype)22)
#define MPI_UINT16_T                    ((MPI_Datatype)23)
#define MPI_UINT32_T                    ((MPI_Datatype)24)
#define MPI_UINT64_T                    ((MPI_Datatype)25)
#define MPI_AINT                        ((MPI_Datatype)26)
#define MPI_COUNT                       ((MPI_Datatype)27)
#define MPI_OFFSET                      ((MPI_Datatype)28)
#define MPI_C_FLOAT_COMPLEX             ((MPI_Datatype)29)
#define MPI_C_DOUBLE_COMPLEX            ((MPI_Datatype)30)
#define MPI_C_LONG_DOUBLE_COMPLEX       ((MPI_Datatype)31)
#define MPI_PACKED                      ((MPI_Datatype)32)
#define MPI_FLOAT_INT                   ((MPI_Datatype)33)
#define MPI_DOUBLE_INT                  ((MPI_Datatype)34)
#define MPI_LONG_INT                    ((MPI_Datatype)35)
#define MPI_2INT                        ((MPI_Datatype)36)
#define MPI_SHORT_INT                   ((MPI_Datatype)37)
#define MPI_LONG_DOUBLE_INT             ((MPI_Datatype)38)
#define MPI_CXX_BOOL                    ((MPI_Datatype)39)
#define MPI_CXX_FLOAT_COMPLEX           ((MPI_Datatype)40)
#define MPI_CXX_DOUBLE_COMPLEX          ((MPI_Datatype)41)
#define MPI_CXX_LONG_DOUBLE_COMPLEX     ((MPI_Datatype)42)
#define MPI_LONG_LONG                   MPI_LONG_LONG_INT
#define MPI_C_COMPLEX                   MPI_C_FLOAT_COMPLEX

/* Datatypes by the names that they have in Fortran */
#define MPI_CHARACTER                   MPI_CHAR
#define MPI_INTEGER                     MPI_INT
#define MPI_REAL                        MPI_FLOAT
#define MPI_DOUBLE_PRECISION            MPI_DOUBLE
#define MPI_COMPLEX                     MPI_C_FLOAT_COMPLEX
#define MPI_DOUBLE_COMPLEX              MPI_C_DOUBLE_COMPLEX
#define MPI_2INTEGER                    MPI_2INT

/* Operations */
#define MPI_MAX                         ((MPI_Op)1)
#define MPI_MIN                         ((MPI_Op)2)
#define MPI_SUM                         ((MPI_Op)3)
#define MPI_PROD                        ((MPI_Op)4)
#define MPI_LAND                        ((MPI_Op)5)
#define MPI_BAND                        ((MPI_Op)6)
#define MPI_LOR                         ((MPI_Op)7)
#define MPI_BOR                         ((MPI_Op)8)
#define MPI_LXOR                        ((MPI_Op)9)
#define MPI_BXOR                        ((MPI_Op)10)
#define MPI_MINLOC                      ((MPI_Op)11)
#define MPI_MAXLOC                      ((MPI_Op)12)
#define MPI_REPLACE                     ((MPI_Op)13)
#define MPI_NO_OP                       ((MPI_Op)14)

/* Attributes */
#define MPI_TAG_UB                      1
#define MPI_HOST                        2
#define MPI_IO                          3
#define MPI_WTIME_IS_GLOBAL             4
#define MPI_UNIVERSE_SIZE               5
#define MPI_LASTUSEDCODE                6
#define MPI_APPNUM                      7
#define MPI_WIN_BASE                    8
#define MPI_WIN_SIZE                    9
#define MPI_WIN_DISP_UNIT               10
#define MPI_WIN_CREATE_FLAVOR           11
#define MPI_WIN_MODEL                   12
#define MPI_WIN_FLAVOR_CREATE           1
#define MPI_WIN_FLAVOR_ALLOCATE         2
#define MPI_WIN_FLAVOR_DYNAMIC          3
#define MPI_WIN_SEPARATE                1
#define MPI_WIN_UNIFIED                 2

/* Topologies, locks, orders, kinds of splits */
#define MPI_GRAPH                       1
#define MPI_CART                        2
#define MPI_DIST_GRAPH                  3
#define MPI_LOCK_EXCLUSIVE              1
#define MPI_LOCK_SHARED                 2
#define MPI_ORDER_C                     0
#define MPI_ORDER_FORTRAN               1
#define MPI_COMM_TYPE_SHARED            1

/* Assertions; the last one ends the epochs of fences, the others change nothing */
#define MPI_MODE_NOCHECK                1
#define MPI_MODE_NOSTORE                2
#define MPI_MODE_NOPUT                  4
#define MPI_MODE_NOPRECEDE              8
#define MPI_MODE_NOSUCCEED              16

/* How a datatype was made */
#define MPI_COMBINER_NAMED              0
#define MPI_COMBINER_DUP                1
#define MPI_COMBINER_CONTIGUOUS         2
#define MPI_COMBINER_VECTOR             3
#define MPI_COMBINER_HVECTOR            4
#define MPI_COMBINER_INDEXED            5
#define MPI_COMBINER_HINDEXED           6
#define MPI_COMBINER_INDEXED_BLOCK      7
#define MPI_COMBINER_HINDEXED_BLOCK     8
#define MPI_COMBINER_STRUCT             9
#define MPI_COMBINER_SUBARRAY           10
#define MPI_COMBINER_RESIZED            11
#define MPI_COMBINER_DARRAY             12

/* How arrays are distributed; classes of datatypes */
#define MPI_DISTRIBUTE_NONE             0
#define MPI_DISTRIBUTE_BLOCK            1
#define MPI_DISTRIBUTE_CYCLIC           2
#define MPI_DISTRIBUTE_DFLT_DARG        (-1)
#define MPI_TYPECLASS_REAL              1
#define MPI_TYPECLASS_INTEGER           2
#define MPI_TYPECLASS_COMPLEX           3

/* Lengths and versions */
#define MPI_MAX_PROCESSOR_NAME          128
#define MPI_MAX_ERROR_STRING            256
#define MPI_MAX_OBJECT_NAME             128
#define MPI_MAX_LIBRARY_VERSION_STRING  256
#define MPI_MAX_INFO_KEY                128
#define MPI_MAX_INFO_VAL                1024
#define MPI_BSEND_OVERHEAD              64
#define MPI_VERSION                     3
#define MPI_SUBVERSION                  1

/* Arithmetic on addresses */
#define MPI_Aint_add(base,              disp)        ((MPI_Aint)((MPI_Aint)(base) + (MPI_Aint)(disp)))
#define MPI_Aint_diff(addr1,            addr2)     ((MPI_Aint)((MPI_Aint)(addr1) - (MPI_Aint)(addr2)))

/* Handles as Fortran has them: the same numbers */
#define MPI_Comm_c2f(handle)            ((MPI_Fint)(handle))
#define MPI_Comm_f2c(handle)            ((MPI_Comm)(handle))
#define MPI_Errhandler_c2f(handle)      ((MPI_Fint)(handle))
#define MPI_Errhandler_f2c(handle)      ((MPI_Errhandler)(handle))
#define MPI_Group_c2f(handle)           ((MPI_Fint)(handle))
#define MPI_Group_f2c(handle)           ((MPI_Group)(handle))
#define MPI_Info_c2f(handle)            ((MPI_Fint)(handle))
#define MPI_Info_f2c(handle)            ((MPI_Info)(handle))
#define MPI_Message_c2f(handle)         ((MPI_Fint)(handle))
#define MPI_Message_f2c(handle)         ((MPI_Message)(handle))
#define MPI_Op_c2f(handle)              ((MPI_Fint)(handle))
#define MPI_Op_f2c(handle)              ((MPI_Op)(handle))
#define MPI_Request_c2f(handle)         ((MPI_Fint)(handle))
#define MPI_Request_f2c(handle)         ((MPI_Request)(handle))
#define MPI_Type_c2f(handle)            ((MPI_Fint)(handle))
#define MPI_Type_f2c(handle)            ((MPI_Datatype)(handle))
#define MPI_Win_c2f(handle)             ((MPI_Fint)(handle))
#define MPI_Win_f2c(handle)             ((MPI_Win)(handle))

/* Names of MPI-1 that old programs use for what has another name now */
#define MPI_Address                     MPI_Get_address
#define MPI_Attr_delete                 MPI_Comm_delete_attr
#define MPI_Attr_get                    MPI_Comm_get_attr
#define MPI_Attr_put                    MPI_Comm_set_attr
#define MPI_Errhandler_create           MPI_Comm_create_errhandler
#define MPI_Errhandler_get              MPI_Comm_get_errhandler
#define MPI_Errhandler_set              MPI_Comm_set_errhandler
#define MPI_Handler_function            MPI_Comm_errhandler_function
#define MPI_Keyval_create               MPI_Comm_create_keyval
#define MPI_Keyval_free                 MPI_Comm_free_keyval
#define MPI_NULL_COPY_FN                MPI_COMM_NULL_COPY_FN
#define MPI_NULL_DELETE_FN              MPI_COMM_NULL_DELETE_FN
#define MPI_DUP_FN                      MPI_COMM_DUP_FN
#define MPI_Type_hindexed               MPI_Type_create_hindexed
#define MPI_Type_hvector                MPI_Type_create_hvector
#define MPI_Type_struct                 MPI_Type_create_struct

/* Environment, errors and info objects */
MPI_IMPORT_(MPI_Init) int MPI_Init(int *argc, char ***argv);
MPI_IMPORT_(MPI_Init_thread) int MPI_Init_thread(int *argc, char ***argv, int required, int *provided);
MPI_IMPORT_(MPI_Initialized) int MPI_Initialized(int *flag);
MPI_IMPORT_(MPI_Finalized) int MPI_Finalized(int *flag);
MPI_IMPORT_(MPI_Finalize) int MPI_Finalize(void);
MPI_IMPORT_(MPI_Abort) int MPI_Abort(MPI_Comm comm, int errorcode);
MPI_IMPORT_(MPI_Query_thread) int MPI_Query_thread(int *provided);
MPI_IMPORT_(MPI_Is_thread_main) int MPI_Is_thread_main(int *flag);
MPI_IMPORT_(MPI_Get_version) int MPI_Get_version(int *version, int *subversion);
MPI_IMPORT_(MPI_Get_library_version) int MPI_Get_library_version(char *version, int *resultlen);
MPI_IMPORT_(MPI_Get_processor_name) int MPI_Get_processor_name(char *name, int *resultlen);
MPI_IMPORT_(MPI_Get_address) int MPI_Get_address(const void *location, MPI_Aint *address);
MPI_IMPORT_(MPI_Alloc_mem) int MPI_Alloc_mem(MPI_Aint size, MPI_Info info, void *baseptr);
MPI_IMPORT_(MPI_Free_mem) int MPI_Free_mem(void *base);
MPI_IMPORT_(MPI_Pcontrol) int MPI_Pcontrol(int level, ...);
MPI_IMPORT_(MPI_Error_class) int MPI_Error_class(int errorcode, int *errorclass);
MPI_IMPORT_(MPI_Error_string) int MPI_Error_string(int errorcode, char *string, int *resultlen);
MPI_IMPORT_(MPI_Add_error_class) int MPI_Add_error_class(int *errorclass);
MPI_IMPORT_(MPI_Add_error_code) int MPI_Add_error_code(int errorclass, int *errorcode);
MPI_IMPORT_(MPI_Add_error_string) int MPI_Add_error_string(int errorcode, const char *string);
MPI_IMPORT_(MPI_Comm_create_errhandler) int MPI_Comm_create_errhandler(MPI_Comm_errhandler_function *function,
    MPI_Errhandler *errhandler);
MPI_IMPORT_(MPI_Comm_set_errhandler) int MPI_Comm_set_errhandler(MPI_Comm comm, MPI_Errhandler errhandler);
MPI_IMPORT_(MPI_Comm_get_errhandler) int MPI_Comm_get_errhandler(MPI_Comm comm, MPI_Errhandler *errhandler);
MPI_IMPORT_(MPI_Errhandler_free) int MPI_Errhandler_free(MPI_Errhandler *errhandler);
MPI_IMPORT_(MPI_Comm_call_errhandler) int MPI_Comm_call_errhandler(MPI_Comm comm, int errorcode);
MPI_IMPORT_(MPI_Win_create_errhandler) int MPI_Win_create_errhandler(MPI_Win_errhandler_function *function, MPI_Errhandler *errhandler);
MPI_IMPORT_(MPI_Win_set_errhandler) int MPI_Win_set_errhandler(MPI_Win win, MPI_Errhandler errhandler);
MPI_IMPORT_(MPI_Win_get_errhandler) int MPI_Win_get_errhandler(MPI_Win win, MPI_Errhandler *errhandler);
MPI_IMPORT_(MPI_Win_call_errhandler) int MPI_Win_call_errhandler(MPI_Win win, int errorcode);
MPI_IMPORT_(MPI_Info_create) int MPI_Info_create(MPI_Info *info);
MPI_IMPORT_(MPI_Info_dup) int MPI_Info_dup(MPI_Info info, MPI_Info *newinfo);
MPI_IMPORT_(MPI_Info_free) int MPI_Info_free(MPI_Info *info);
MPI_IMPORT_(MPI_Info_set) int MPI_Info_set(MPI_Info info, const char *key, const char *value);
MPI_IMPORT_(MPI_Info_delete) int MPI_Info_delete(MPI_Info info, const char *key);
MPI_IMPORT_(MPI_Info_get) int MPI_Info_get(MPI_Info info, const char *key, int valuelen, char *value, int *flag);
MPI_IMPORT_(MPI_Info_get_valuelen) int MPI_Info_get_valuelen(MPI_Info info, const char *key, int *valuelen, int *flag);
MPI_IMPORT_(MPI_Info_get_nkeys) int MPI_Info_get_nkeys(MPI_Info info, int *nkeys);
MPI_IMPORT_(MPI_Info_get_nthkey) int MPI_Info_get_nthkey(MPI_Info info, int n, char *key);
MPI_IMPORT_(MPI_Comm_set_info) int MPI_Comm_set_info(MPI_Comm comm, MPI_Info info);
MPI_IMPORT_(MPI_Comm_get_info) int MPI_Comm_get_info(MPI_Comm comm, MPI_Info *info);
MPI_IMPORT_(MPI_Win_set_info) int MPI_Win_set_info(MPI_Win win, MPI_Info info);
MPI_IMPORT_(MPI_Win_get_info) int MPI_Win_get_info(MPI_Win win, MPI_Info *info);

/* Attributes */
MPI_IMPORT_(MPI_Comm_create_keyval) int MPI_Comm_create_keyval(MPI_Comm_copy_attr_function *copy,
    MPI_Comm_delete_attr_function *remove, int *keyval, void *extra);
MPI_IMPORT_(MPI_Comm_free_keyval) int MPI_Comm_free_keyval(int *keyval);
MPI_IMPORT_(MPI_Comm_set_attr) int MPI_Comm_set_attr(MPI_Comm comm, int keyval, void *value);
MPI_IMPORT_(MPI_Comm_get_attr) int MPI_Comm_get_attr(MPI_Comm comm, int keyval, void *value, int *flag);
MPI_IMPORT_(MPI_Comm_delete_attr) int MPI_Comm_delete_attr(MPI_Comm comm, int keyval);
MPI_IMPORT_(MPI_Type_create_keyval) int MPI_Type_create_keyval(MPI_Type_copy_attr_function *copy,
    MPI_Type_delete_attr_function *remove, int *keyval, void *extra);
MPI_IMPORT_(MPI_Type_free_keyval) int MPI_Type_free_keyval(int *keyval);
MPI_IMPORT_(MPI_Type_set_attr) int MPI_Type_set_attr(MPI_Datatype datatype, int keyval, void *value);
MPI_IMPORT_(MPI_Type_get_attr) int MPI_Type_get_attr(MPI_Datatype datatype, int keyval, void *value, int *flag);
MPI_IMPORT_(MPI_Type_delete_attr) int MPI_Type_delete_attr(MPI_Datatype datatype, int keyval);
MPI_IMPORT_(MPI_Win_create_keyval) int MPI_Win_create_keyval(MPI_Win_copy_attr_function *copy,
    MPI_Win_delete_attr_function *remove, int *keyval, void *extra);
MPI_IMPORT_(MPI_Win_free_keyval) int MPI_Win_free_keyval(int *keyval);
MPI_IMPORT_(MPI_Win_set_attr) int MPI_Win_set_attr(MPI_Win win, int keyval, void *value);
MPI_IMPORT_(MPI_Win_delete_attr) int MPI_Win_delete_attr(MPI_Win win, int keyval);

/* Point to point */
MPI_IMPORT_(MPI_Send) int MPI_Send(const void *buf, int count, MPI_Datatype datatype, int dest, int tag, MPI_Comm comm);
MPI_IMPORT_(MPI_Ssend) int MPI_Ssend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Bsend) int MPI_Bsend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Rsend) int MPI_Rsend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Isend) int MPI_Isend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag, MPI_Comm comm,
    MPI_Request *request);
MPI_IMPORT_(MPI_Issend) int MPI_Issend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Ibsend) int MPI_Ibsend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Irsend) int MPI_Irsend(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Send_init) int MPI_Send_init(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Ssend_init) int MPI_Ssend_init(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Bsend_init) int MPI_Bsend_init(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Rsend_init) int MPI_Rsend_init(const void *buf, int count, MPI_Datatype datatype, int dest, int tag,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Recv_init) int MPI_Recv_init(void *buf, int count, MPI_Datatype datatype, int source, int tag, MPI_Comm comm,
    MPI_Request *request);
MPI_IMPORT_(MPI_Recv) int MPI_Recv(void *buf, int count, MPI_Datatype datatype, int source, int tag, MPI_Comm comm,
    MPI_Status *status);
MPI_IMPORT_(MPI_Irecv) int MPI_Irecv(void *buf, int count, MPI_Datatype datatype, int source, int tag, MPI_Comm comm,
    MPI_Request *request);
MPI_IMPORT_(MPI_Sendrecv) int MPI_Sendrecv(const void *sendbuf, int sendcount, MPI_Datatype sendtype, int dest, int sendtag,
    void *recvbuf, int recvcount, MPI_Datatype recvtype, int source, int recvtag, MPI_Comm comm,
    MPI_Status *status);
MPI_IMPORT_(MPI_Sendrecv_replace) int MPI_Sendrecv_replace(void *buf, int count, MPI_Datatype datatype, int dest, int sendtag,
    int source, int recvtag, MPI_Comm comm, MPI_Status *status);
MPI_IMPORT_(MPI_Probe) int MPI_Probe(int source, int tag, MPI_Comm comm, MPI_Status *status);
MPI_IMPORT_(MPI_Iprobe) int MPI_Iprobe(int source, int tag, MPI_Comm comm, int *flag, MPI_Status *status);
MPI_IMPORT_(MPI_Mprobe) int MPI_Mprobe(int source, int tag, MPI_Comm comm, MPI_Message *message, MPI_Status *status);
MPI_IMPORT_(MPI_Improbe) int MPI_Improbe(int source, int tag, MPI_Comm comm, int *flag, MPI_Message *message,
    MPI_Status *status);
MPI_IMPORT_(MPI_Mrecv) int MPI_Mrecv(void *buf, int count, MPI_Datatype datatype, MPI_Message *message,
    MPI_Status *status);
MPI_IMPORT_(MPI_Imrecv) int MPI_Imrecv(void *buf, int count, MPI_Datatype datatype, MPI_Message *message,
    MPI_Request *request);
MPI_IMPORT_(MPI_Buffer_attach) int MPI_Buffer_attach(void *buffer, int size);
MPI_IMPORT_(MPI_Buffer_detach) int MPI_Buffer_detach(void *buffer, int *size);

/* Requests and statuses */
MPI_IMPORT_(MPI_Wait) int MPI_Wait(MPI_Request *request, MPI_Status *status);
MPI_IMPORT_(MPI_Test) int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status);
MPI_IMPORT_(MPI_Request_get_status) int MPI_Request_get_status(MPI_Request request, int *flag, MPI_Status *status);
MPI_IMPORT_(MPI_Waitall) int MPI_Waitall(int number, MPI_Request requests[], MPI_Status statuses[]);
MPI_IMPORT_(MPI_Testall) int MPI_Testall(int number, MPI_Request requests[], int *flag, MPI_Status statuses[]);
MPI_IMPORT_(MPI_Waitany) int MPI_Waitany(int number, MPI_Request requests[], int *index, MPI_Status *status);
MPI_IMPORT_(MPI_Testany) int MPI_Testany(int number, MPI_Request requests[], int *index, int *flag, MPI_Status *status);
MPI_IMPORT_(MPI_Waitsome) int MPI_Waitsome(int incount, MPI_Request requests[], int *outcount, int indices[],
    MPI_Status statuses[]);
MPI_IMPORT_(MPI_Testsome) int MPI_Testsome(int incount, MPI_Request requests[], int *outcount, int indices[],
    MPI_Status statuses[]);
MPI_IMPORT_(MPI_Start) int MPI_Start(MPI_Request *request);
MPI_IMPORT_(MPI_Startall) int MPI_Startall(int number, MPI_Request requests[]);
MPI_IMPORT_(MPI_Request_free) int MPI_Request_free(MPI_Request *request);
MPI_IMPORT_(MPI_Cancel) int MPI_Cancel(MPI_Request *request);
MPI_IMPORT_(MPI_Test_cancelled) int MPI_Test_cancelled(const MPI_Status *status, int *flag);
MPI_IMPORT_(MPI_Status_set_cancelled) int MPI_Status_set_cancelled(MPI_Status *status, int flag);
MPI_IMPORT_(MPI_Status_set_elements) int MPI_Status_set_elements(MPI_Status *status, MPI_Datatype datatype, int number);
MPI_IMPORT_(MPI_Get_count) int MPI_Get_count(const MPI_Status *status, MPI_Datatype datatype, int *number);
MPI_IMPORT_(MPI_Get_elements) int MPI_Get_elements(const MPI_Status *status, MPI_Datatype datatype, int *number);
MPI_IMPORT_(MPI_Get_elements_x) int MPI_Get_elements_x(const MPI_Status *status, MPI_Datatype datatype, MPI_Count *number);

/* Communicators */
MPI_IMPORT_(MPI_Comm_size) int MPI_Comm_size(MPI_Comm comm, int *size);
MPI_IMPORT_(MPI_Comm_rank) int MPI_Comm_rank(MPI_Comm comm, int *rank);
MPI_IMPORT_(MPI_Comm_compare) int MPI_Comm_compare(MPI_Comm comm1, MPI_Comm comm2, int *result);
MPI_IMPORT_(MPI_Comm_dup) int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Comm_dup_with_info) int MPI_Comm_dup_with_info(MPI_Comm comm, MPI_Info info, MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Comm_idup) int MPI_Comm_idup(MPI_Comm comm, MPI_Comm *newcomm, MPI_Request *request);
MPI_IMPORT_(MPI_Comm_create) int MPI_Comm_create(MPI_Comm comm, MPI_Group group, MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Comm_create_group) int MPI_Comm_create_group(MPI_Comm comm, MPI_Group group, int tag, MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Comm_split) int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Comm_split_type) int MPI_Comm_split_type(MPI_Comm comm, int split_type, int key, MPI_Info info, MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Comm_free) int MPI_Comm_free(MPI_Comm *comm);
MPI_IMPORT_(MPI_Comm_disconnect) int MPI_Comm_disconnect(MPI_Comm *comm);
MPI_IMPORT_(MPI_Comm_set_name) int MPI_Comm_set_name(MPI_Comm comm, const char *name);
MPI_IMPORT_(MPI_Comm_get_name) int MPI_Comm_get_name(MPI_Comm comm, char *name, int *length);
MPI_IMPORT_(MPI_Comm_test_inter) int MPI_Comm_test_inter(MPI_Comm comm, int *flag);
MPI_IMPORT_(MPI_Comm_group) int MPI_Comm_group(MPI_Comm comm, MPI_Group *group);

/* Groups */
MPI_IMPORT_(MPI_Group_size) int MPI_Group_size(MPI_Group group, int *size);
MPI_IMPORT_(MPI_Group_rank) int MPI_Group_rank(MPI_Group group, int *rank);
MPI_IMPORT_(MPI_Group_incl) int MPI_Group_incl(MPI_Group group, int n, const int ranks[], MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_excl) int MPI_Group_excl(MPI_Group group, int n, const int ranks[], MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_range_incl) int MPI_Group_range_incl(MPI_Group group, int n, int ranges[][3], MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_range_excl) int MPI_Group_range_excl(MPI_Group group, int n, int ranges[][3], MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_union) int MPI_Group_union(MPI_Group group1, MPI_Group group2, MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_intersection) int MPI_Group_intersection(MPI_Group group1, MPI_Group group2, MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_difference) int MPI_Group_difference(MPI_Group group1, MPI_Group group2, MPI_Group *newgroup);
MPI_IMPORT_(MPI_Group_translate_ranks) int MPI_Group_translate_ranks(MPI_Group group1, int n, const int ranks1[], MPI_Group group2,
    int ranks2[]);
MPI_IMPORT_(MPI_Group_compare) int MPI_Group_compare(MPI_Group group1, MPI_Group group2, int *result);
MPI_IMPORT_(MPI_Group_free) int MPI_Group_free(MPI_Group *group);

/* Cartesian topologies */
MPI_IMPORT_(MPI_Cart_create) int MPI_Cart_create(MPI_Comm comm_old, int ndims, const int dims[], const int periods[],
    int reorder, MPI_Comm *comm_cart);
MPI_IMPORT_(MPI_Cart_sub) int MPI_Cart_sub(MPI_Comm comm, const int remain_dims[], MPI_Comm *newcomm);
MPI_IMPORT_(MPI_Cart_coords) int MPI_Cart_coords(MPI_Comm comm, int rank, int maxdims, int coords[]);
MPI_IMPORT_(MPI_Cart_rank) int MPI_Cart_rank(MPI_Comm comm, const int coords[], int *rank);
MPI_IMPORT_(MPI_Cart_shift) int MPI_Cart_shift(MPI_Comm comm, int direction, int disp, int *rank_source, int *rank_dest);
MPI_IMPORT_(MPI_Cart_get) int MPI_Cart_get(MPI_Comm comm, int maxdims, int dims[], int periods[], int coords[]);
MPI_IMPORT_(MPI_Cartdim_get) int MPI_Cartdim_get(MPI_Comm comm, int *ndims);
MPI_IMPORT_(MPI_Cart_map) int MPI_Cart_map(MPI_Comm comm, int ndims, const int dims[], const int periods[], int *newrank);
MPI_IMPORT_(MPI_Dims_create) int MPI_Dims_create(int nnodes, int ndims, int dims[]);
MPI_IMPORT_(MPI_Topo_test) int MPI_Topo_test(MPI_Comm comm, int *status);

/* Graphs */
MPI_IMPORT_(MPI_Graph_create) int MPI_Graph_create(MPI_Comm comm_old, int nnodes, const int index[], const int edges[],
    int reorder, MPI_Comm *comm_graph);
MPI_IMPORT_(MPI_Graph_map) int MPI_Graph_map(MPI_Comm comm, int nnodes, const int index[], const int edges[], int *newrank);
MPI_IMPORT_(MPI_Graphdims_get) int MPI_Graphdims_get(MPI_Comm comm, int *nnodes, int *nedges);
MPI_IMPORT_(MPI_Graph_get) int MPI_Graph_get(MPI_Comm comm, int maxindex, int maxedges, int index[], int edges[]);
MPI_IMPORT_(MPI_Graph_neighbors_count) int MPI_Graph_neighbors_count(MPI_Comm comm, int rank, int *nneighbors);
MPI_IMPORT_(MPI_Graph_neighbors) int MPI_Graph_neighbors(MPI_Comm comm, int rank, int maxneighbors, int neighbors[]);
MPI_IMPORT_(MPI_Dist_graph_create_adjacent) int MPI_Dist_graph_create_adjacent(MPI_Comm comm_old, int indegree,
    const int sources[], const int sourceweights[], int outdegree, const int destinations[],
    const int destweights[], MPI_Info info, int reorder, MPI_Comm *comm_dist_graph);
MPI_IMPORT_(MPI_Dist_graph_create) int MPI_Dist_graph_create(MPI_Comm comm_old, int n, const int sources[],
    const int degrees[], const int destinations[], const int weights[], MPI_Info info, int reorder,
    MPI_Comm *comm_dist_graph);
MPI_IMPORT_(MPI_Dist_graph_neighbors_count) int MPI_Dist_graph_neighbors_count(MPI_Comm comm, int *indegree, int *outdegree,
    int *weighted);
MPI_IMPORT_(MPI_Dist_graph_neighbors) int MPI_Dist_graph_neighbors(MPI_Comm comm, int maxindegree, int sources[],
    int sourceweights[], int maxoutdegree, int destinations[], int destweights[]);

/* Datatypes */
MPI_IMPORT_(MPI_Type_contiguous) int MPI_Type_contiguous(int number, MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_vector) int MPI_Type_vector(int number, int blocklength, int stride, MPI_Datatype oldtype,
    MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_hvector) int MPI_Type_create_hvector(int number, int blocklength, MPI_Aint stride, MPI_Datatype oldtype,
    MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_indexed) int MPI_Type_indexed(int number, const int lengths[], const int displacements[],
    MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_hindexed) int MPI_Type_create_hindexed(int number, const int lengths[], const MPI_Aint displacements[],
    MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_indexed_block) int MPI_Type_create_indexed_block(int number, int blocklength, const int displacements[],
    MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_hindexed_block) int MPI_Type_create_hindexed_block(int number, int blocklength, const MPI_Aint displacements[],
    MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_struct) int MPI_Type_create_struct(int number, const int lengths[], const MPI_Aint displacements[],
    const MPI_Datatype types[], MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_subarray) int MPI_Type_create_subarray(int ndims, const int sizes[], const int subsizes[],
    const int starts[], int order, MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_darray) int MPI_Type_create_darray(int size, int rank, int ndims, const int gsizes[],
    const int distribs[], const int dargs[], const int psizes[], int order, MPI_Datatype oldtype,
    MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_create_resized) int MPI_Type_create_resized(MPI_Datatype oldtype, MPI_Aint lb, MPI_Aint extent,
    MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_dup) int MPI_Type_dup(MPI_Datatype oldtype, MPI_Datatype *newtype);
MPI_IMPORT_(MPI_Type_commit) int MPI_Type_commit(MPI_Datatype *datatype);
MPI_IMPORT_(MPI_Type_free) int MPI_Type_free(MPI_Datatype *datatype);
MPI_IMPORT_(MPI_Type_size) int MPI_Type_size(MPI_Datatype datatype, int *size);
MPI_IMPORT_(MPI_Type_size_x) int MPI_Type_size_x(MPI_Datatype datatype, MPI_Count *size);
MPI_IMPORT_(MPI_Type_get_extent) int MPI_Type_get_extent(MPI_Datatype datatype, MPI_Aint *lb, MPI_Aint *extent);
MPI_IMPORT_(MPI_Type_get_extent_x) int MPI_Type_get_extent_x(MPI_Datatype datatype, MPI_Count *lb, MPI_Count *extent);
MPI_IMPORT_(MPI_Type_get_true_extent) int MPI_Type_get_true_extent(MPI_Datatype datatype, MPI_Aint *true_lb, MPI_Aint *true_extent);
MPI_IMPORT_(MPI_Type_get_true_extent_x) int MPI_Type_get_true_extent_x(MPI_Datatype datatype, MPI_Count *true_lb,
    MPI_Count *true_extent);
MPI_IMPORT_(MPI_Type_match_size) int MPI_Type_match_size(int typeclass, int size, MPI_Datatype *datatype);
MPI_IMPORT_(MPI_Type_set_name) int MPI_Type_set_name(MPI_Datatype datatype, const char *name);
MPI_IMPORT_(MPI_Type_get_name) int MPI_Type_get_name(MPI_Datatype datatype, char *name, int *resultlen);
MPI_IMPORT_(MPI_Type_get_envelope) int MPI_Type_get_envelope(MPI_Datatype datatype, int *integers, int *addresses, int *datatypes,
    int *combiner);
MPI_IMPORT_(MPI_Type_get_contents) int MPI_Type_get_contents(MPI_Datatype datatype, int max_integers, int max_addresses,
    int max_datatypes, int integers[], MPI_Aint addresses[], MPI_Datatype datatypes[]);
MPI_IMPORT_(MPI_Pack) int MPI_Pack(const void *inbuf, int incount, MPI_Datatype datatype, void *outbuf, int outsize,
    int *position, MPI_Comm comm);
MPI_IMPORT_(MPI_Unpack) int MPI_Unpack(const void *inbuf, int insize, int *position, void *outbuf, int outcount,
    MPI_Datatype datatype, MPI_Comm comm);
MPI_IMPORT_(MPI_Pack_size) int MPI_Pack_size(int incount, MPI_Datatype datatype, MPI_Comm comm, int *size);

/* The bounds of a datatype as MPI-1 asks for them */
static __inline__ int MPI_Type_extent(MPI_Datatype datatype, MPI_Aint *extent)
{
    MPI_Aint lb;
    return MPI_Type_get_extent(datatype, &lb, extent);
}
static __inline__ int MPI_Type_lb(MPI_Datatype datatype, MPI_Aint *lb)
{
    MPI_Aint extent;
    return MPI_Type_get_extent(datatype, lb, &extent);
}
static __inline__ int MPI_Type_ub(MPI_Datatype datatype, MPI_Aint *ub)
{
    MPI_Aint lb;
    int code = MPI_Type_get_extent(datatype, &lb, ub);
    if (code == MPI_SUCCESS)
        *ub += lb;
    return code;
}

/* Collectives that move data */
MPI_IMPORT_(MPI_Barrier) int MPI_Barrier(MPI_Comm comm);
MPI_IMPORT_(MPI_Ibarrier) int MPI_Ibarrier(MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Bcast) int MPI_Bcast(void *buffer, int count, MPI_Datatype datatype, int root, MPI_Comm comm);
MPI_IMPORT_(MPI_Ibcast) int MPI_Ibcast(void *buffer, int count, MPI_Datatype datatype, int root, MPI_Comm comm,
    MPI_Request *request);
MPI_IMPORT_(MPI_Gather) int MPI_Gather(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, int root, MPI_Comm comm);
MPI_IMPORT_(MPI_Igather) int MPI_Igather(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, int root, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Gatherv) int MPI_Gatherv(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    const int recvcounts[], const int displs[], MPI_Datatype recvtype, int root, MPI_Comm comm);
MPI_IMPORT_(MPI_Igatherv) int MPI_Igatherv(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    const int recvcounts[], const int displs[], MPI_Datatype recvtype, int root, MPI_Comm comm,
    MPI_Request *request);
MPI_IMPORT_(MPI_Scatter) int MPI_Scatter(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, int root, MPI_Comm comm);
MPI_IMPORT_(MPI_Iscatter) int MPI_Iscatter(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, int root, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Scatterv) int MPI_Scatterv(const void *sendbuf, const int sendcounts[], const int displs[],
    MPI_Datatype sendtype, void *recvbuf, int recvcount, MPI_Datatype recvtype, int root,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Iscatterv) int MPI_Iscatterv(const void *sendbuf, const int sendcounts[], const int displs[],
    MPI_Datatype sendtype, void *recvbuf, int recvcount, MPI_Datatype recvtype, int root,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Allgather) int MPI_Allgather(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Iallgather) int MPI_Iallgather(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Allgatherv) int MPI_Allgatherv(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    const int recvcounts[], const int displs[], MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Iallgatherv) int MPI_Iallgatherv(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    const int recvcounts[], const int displs[], MPI_Datatype recvtype, MPI_Comm comm,
    MPI_Request *request);
MPI_IMPORT_(MPI_Alltoall) int MPI_Alltoall(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Ialltoall) int MPI_Ialltoall(const void *sendbuf, int sendcount, MPI_Datatype sendtype, void *recvbuf,
    int recvcount, MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Alltoallv) int MPI_Alltoallv(const void *sendbuf, const int sendcounts[], const int sdispls[],
    MPI_Datatype sendtype, void *recvbuf, const int recvcounts[], const int rdispls[],
    MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Ialltoallv) int MPI_Ialltoallv(const void *sendbuf, const int sendcounts[], const int sdispls[],
    MPI_Datatype sendtype, void *recvbuf, const int recvcounts[], const int rdispls[],
    MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Alltoallw) int MPI_Alltoallw(const void *sendbuf, const int sendcounts[], const int sdispls[],
    const MPI_Datatype sendtypes[], void *recvbuf, const int recvcounts[], const int rdispls[],
    const MPI_Datatype recvtypes[], MPI_Comm comm);
MPI_IMPORT_(MPI_Ialltoallw) int MPI_Ialltoallw(const void *sendbuf, const int sendcounts[], const int sdispls[],
    const MPI_Datatype sendtypes[], void *recvbuf, const int recvcounts[], const int rdispls[],
    const MPI_Datatype recvtypes[], MPI_Comm comm, MPI_Request *request);

/* Collectives among neighbours in a topology */
MPI_IMPORT_(MPI_Neighbor_allgather) int MPI_Neighbor_allgather(const void *sendbuf, int sendcount, MPI_Datatype sendtype,
    void *recvbuf, int recvcount, MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Ineighbor_allgather) int MPI_Ineighbor_allgather(const void *sendbuf, int sendcount, MPI_Datatype sendtype,
    void *recvbuf, int recvcount, MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Neighbor_allgatherv) int MPI_Neighbor_allgatherv(const void *sendbuf, int sendcount, MPI_Datatype sendtype,
    void *recvbuf, const int recvcounts[], const int displs[], MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Ineighbor_allgatherv) int MPI_Ineighbor_allgatherv(const void *sendbuf, int sendcount, MPI_Datatype sendtype,
    void *recvbuf, const int recvcounts[], const int displs[], MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Neighbor_alltoall) int MPI_Neighbor_alltoall(const void *sendbuf, int sendcount, MPI_Datatype sendtype,
    void *recvbuf, int recvcount, MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Ineighbor_alltoall) int MPI_Ineighbor_alltoall(const void *sendbuf, int sendcount, MPI_Datatype sendtype,
    void *recvbuf, int recvcount, MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Neighbor_alltoallv) int MPI_Neighbor_alltoallv(const void *sendbuf, const int sendcounts[], const int sdispls[],
    MPI_Datatype sendtype,
    void *recvbuf, const int recvcounts[], const int rdispls[], MPI_Datatype recvtype, MPI_Comm comm);
MPI_IMPORT_(MPI_Ineighbor_alltoallv) int MPI_Ineighbor_alltoallv(const void *sendbuf, const int sendcounts[], const int sdispls[],
    MPI_Datatype sendtype,
    void *recvbuf, const int recvcounts[], const int rdispls[], MPI_Datatype recvtype, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Neighbor_alltoallw) int MPI_Neighbor_alltoallw(const void *sendbuf, const int sendcounts[], const MPI_Aint sdispls[],
    const MPI_Datatype sendtypes[],
    void *recvbuf, const int recvcounts[], const MPI_Aint rdispls[],
    const MPI_Datatype recvtypes[], MPI_Comm comm);
MPI_IMPORT_(MPI_Ineighbor_alltoallw) int MPI_Ineighbor_alltoallw(const void *sendbuf, const int sendcounts[], const MPI_Aint sdispls[],
    const MPI_Datatype sendtypes[],
    void *recvbuf, const int recvcounts[], const MPI_Aint rdispls[],
    const MPI_Datatype recvtypes[], MPI_Comm comm, MPI_Request *request);

/* Collectives that combine data */
MPI_IMPORT_(MPI_Reduce) int MPI_Reduce(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    int root, MPI_Comm comm);
MPI_IMPORT_(MPI_Ireduce) int MPI_Ireduce(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    int root, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Allreduce) int MPI_Allreduce(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Iallreduce) int MPI_Iallreduce(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype,
    MPI_Op op, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Reduce_scatter) int MPI_Reduce_scatter(const void *sendbuf, void *recvbuf, const int recvcounts[],
    MPI_Datatype datatype, MPI_Op op, MPI_Comm comm);
MPI_IMPORT_(MPI_Ireduce_scatter) int MPI_Ireduce_scatter(const void *sendbuf, void *recvbuf, const int recvcounts[],
    MPI_Datatype datatype, MPI_Op op, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Reduce_scatter_block) int MPI_Reduce_scatter_block(const void *sendbuf, void *recvbuf, int recvcount,
    MPI_Datatype datatype, MPI_Op op, MPI_Comm comm);
MPI_IMPORT_(MPI_Ireduce_scatter_block) int MPI_Ireduce_scatter_block(const void *sendbuf, void *recvbuf, int recvcount,
    MPI_Datatype datatype, MPI_Op op, MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Scan) int MPI_Scan(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Iscan) int MPI_Iscan(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Exscan) int MPI_Exscan(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    MPI_Comm comm);
MPI_IMPORT_(MPI_Iexscan) int MPI_Iexscan(const void *sendbuf, void *recvbuf, int count, MPI_Datatype datatype, MPI_Op op,
    MPI_Comm comm, MPI_Request *request);
MPI_IMPORT_(MPI_Reduce_local) int MPI_Reduce_local(const void *inbuf, void *inoutbuf, int count, MPI_Datatype datatype,
    MPI_Op op);
MPI_IMPORT_(MPI_Op_create) int MPI_Op_create(MPI_User_function *function, int commute, MPI_Op *op);
MPI_IMPORT_(MPI_Op_free) int MPI_Op_free(MPI_Op *op);
MPI_IMPORT_(MPI_Op_commutative) int MPI_Op_commutative(MPI_Op op, int *commute);

/* One-sided communication */
MPI_IMPORT_(MPI_Win_create) int MPI_Win_create(void *base, MPI_Aint size, int disp_unit, MPI_Info info, MPI_Comm comm,
    MPI_Win *win);
MPI_IMPORT_(MPI_Win_allocate) int MPI_Win_allocate(MPI_Aint size, int disp_unit, MPI_Info info, MPI_Comm comm, void *baseptr,
    MPI_Win *win);
MPI_IMPORT_(MPI_Win_create_dynamic) int MPI_Win_create_dynamic(MPI_Info info, MPI_Comm comm, MPI_Win *win);
MPI_IMPORT_(MPI_Win_attach) int MPI_Win_attach(MPI_Win win, void *base, MPI_Aint size);
MPI_IMPORT_(MPI_Win_detach) int MPI_Win_detach(MPI_Win win, const void *base);
MPI_IMPORT_(MPI_Win_free) int MPI_Win_free(MPI_Win *win);
MPI_IMPORT_(MPI_Win_get_group) int MPI_Win_get_group(MPI_Win win, MPI_Group *group);
MPI_IMPORT_(MPI_Win_set_name) int MPI_Win_set_name(MPI_Win win, const char *name);
MPI_IMPORT_(MPI_Win_get_name) int MPI_Win_get_name(MPI_Win win, char *name, int *resultlen);
MPI_IMPORT_(MPI_Win_get_attr) int MPI_Win_get_attr(MPI_Win win, int keyval, void *value, int *flag);
MPI_IMPORT_(MPI_Put) int MPI_Put(const void *origin, int origin_count, MPI_Datatype origin_type, int rank,
    MPI_Aint disp, int count, MPI_Datatype datatype, MPI_Win win);
MPI_IMPORT_(MPI_Get) int MPI_Get(void *origin, int origin_count, MPI_Datatype origin_type, int rank, MPI_Aint disp,
    int count, MPI_Datatype datatype, MPI_Win win);
MPI_IMPORT_(MPI_Accumulate) int MPI_Accumulate(const void *origin, int origin_count, MPI_Datatype origin_type, int rank,
    MPI_Aint disp, int count, MPI_Datatype datatype, MPI_Op op, MPI_Win win);
MPI_IMPORT_(MPI_Get_accumulate) int MPI_Get_accumulate(const void *origin, int origin_count, MPI_Datatype origin_type,
    void *result, int result_count, MPI_Datatype result_type, int rank, MPI_Aint disp, int count,
    MPI_Datatype datatype, MPI_Op op, MPI_Win win);
MPI_IMPORT_(MPI_Fetch_and_op) int MPI_Fetch_and_op(const void *origin, void *result, MPI_Datatype datatype, int rank,
    MPI_Aint disp, MPI_Op op, MPI_Win win);
MPI_IMPORT_(MPI_Compare_and_swap) int MPI_Compare_and_swap(const void *origin, const void *compare, void *result,
    MPI_Datatype datatype, int rank, MPI_Aint disp, MPI_Win win);
MPI_IMPORT_(MPI_Rput) int MPI_Rput(const void *origin, int origin_count, MPI_Datatype origin_type, int rank,
    MPI_Aint disp, int count, MPI_Datatype datatype, MPI_Win win, MPI_Request *request);
MPI_IMPORT_(MPI_Rget) int MPI_Rget(void *origin, int origin_count, MPI_Datatype origin_type, int rank, MPI_Aint disp,
    int count, MPI_Datatype datatype, MPI_Win win, MPI_Request *request);
MPI_IMPORT_(MPI_Raccumulate) int MPI_Raccumulate(const void *origin, int origin_count, MPI_Datatype origin_type, int rank,
    MPI_Aint disp, int count, MPI_Datatype datatype, MPI_Op op, MPI_Win win,
    MPI_Request *request);
MPI_IMPORT_(MPI_Rget_accumulate) int MPI_Rget_accumulate(const void *origin, int origin_count,
    MPI_Datatype origin_type, void *result, int result_count, MPI_Datatype result_type, int rank,
    MPI_Aint disp, int count, MPI_Datatype datatype, MPI_Op op, MPI_Win win, MPI_Request *request);
MPI_IMPORT_(MPI_Win_fence) int MPI_Win_fence(int assert, MPI_Win win);
MPI_IMPORT_(MPI_Win_lock) int MPI_Win_lock(int lock_type, int rank, int assert, MPI_Win win);
MPI_IMPORT_(MPI_Win_unlock) int MPI_Win_unlock(int rank, MPI_Win win);
MPI_IMPORT_(MPI_Win_lock_all) int MPI_Win_lock_all(int assert, MPI_Win win);
MPI_IMPORT_(MPI_Win_unlock_all) int MPI_Win_unlock_all(MPI_Win win);
MPI_IMPORT_(MPI_Win_flush) int MPI_Win_flush(int rank, MPI_Win win);
MPI_IMPORT_(MPI_Win_flush_local) int MPI_Win_flush_local(int rank, MPI_Win win);
MPI_IMPORT_(MPI_Win_flush_all) int MPI_Win_flush_all(MPI_Win win);
MPI_IMPORT_(MPI_Win_flush_local_all) int MPI_Win_flush_local_all(MPI_Win win);
MPI_IMPORT_(MPI_Win_sync) int MPI_Win_sync(MPI_Win win);
MPI_IMPORT_(MPI_Win_post) int MPI_Win_post(MPI_Group group, int assert, MPI_Win win);
MPI_IMPORT_(MPI_Win_start) int MPI_Win_start(MPI_Group group, int assert, MPI_Win win);
MPI_IMPORT_(MPI_Win_complete) int MPI_Win_complete(MPI_Win win);
MPI_IMPORT_(MPI_Win_wait) int MPI_Win_wait(MPI_Win win);
MPI_IMPORT_(MPI_Win_test) int MPI_Win_test(MPI_Win win, int *flag);

/* Time */
MPI_IMPORT_(MPI_Wtime) double MPI_Wtime(void);
MPI_IMPORT_(MPI_Wtick) double MPI_Wtick(void);

#ifdef __cplusplus
}
#endif

#endif
