/* The ephemeral store of CloudSkin for programs in C.
 *
 *     geds_store store;
 *     if (geds_open(NULL, &store) < 0) { fprintf(stderr, "%s\n", geds_error()); exit(1); }
 *     geds_create_bucket(store, "lab");
 *     putObject(store, "lab", "greeting", "hello", 5, GEDS_OVERWRITE);
 *
 *     const void *bytes; size_t length; geds_view view;
 *     geds_view(store, "lab", "greeting", &view, &bytes, &length);   // the same bytes, not a copy of them
 *     geds_view_release(view);
 *     geds_close(store);
 *
 * Link with -lgeds. Objects lie in buckets; each is written once, sealed, and then never changes: writing
 * a name again makes a new version.
 *
 * Every function may be called by any thread. A result that is negative is a status below; the calling
 * thread then finds out more with geds_error(). A pointer that is null where it may not be, and a handle
 * that is not open, are refused with a status; all other pointers must be what they say. Texts are UTF-8 and end with a
 * zero byte; keys have 1 to 1024 bytes, buckets are named by the rules of S3. A child that is forked from
 * a process must open a store of its own, and leave its parent's handles alone.
 *
 * Apache-2.0.
 */
#ifndef GEDS_H
#define GEDS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is open. Numbers are never given out twice, and 0 is none. */
typedef uint64_t geds_store;
typedef uint64_t geds_file;
typedef uint64_t geds_view_handle;

enum geds_status {
    GEDS_OK = 0,
    GEDS_INVALID = -1,     /* an argument cannot be; repeating the call cannot help */
    GEDS_NOT_FOUND = -2,   /* there is no such bucket or object */
    GEDS_EXISTS = -3,      /* it is there already, and GEDS_OVERWRITE was not asked for */
    GEDS_CONFLICT = -4,    /* it changed since it was read, or a bucket has objects */
    GEDS_EXHAUSTED = -5,   /* a limit is reached, and nothing was freed while the call waited */
    GEDS_FORBIDDEN = -6,   /* the tenant may not do this */
    GEDS_CORRUPT = -7,     /* the bytes are lost, or not those that were written */
    GEDS_UNAVAILABLE = -8, /* the node does not answer */
    GEDS_UNSUPPORTED = -9, /* the store cannot do this yet */
    GEDS_TIMEOUT = -10,    /* it did not end in time; it may still take effect */
    GEDS_INTERNAL = -11,   /* a defect of the library or of the machine */
    GEDS_HANDLE = -12      /* nothing of that kind is open under the handle */
};

/* How an object is written. Without flags the first who seals a name keeps it. */
enum geds_flags {
    GEDS_OVERWRITE = 1, /* replaces what the name has */
    GEDS_DURABLE = 2    /* waits until the object is on disk, and synced: then it outlives the node */
};

/* Where an object's bytes lie. */
enum geds_tier {
    GEDS_MEMORY = 1,
    GEDS_DISK = 2,
    GEDS_MIXED = 3,  /* an object that was composed of several */
    GEDS_OUTSIDE = 4 /* in the bucket's back end */
};

/* What is known about an object. */
struct geds_stat {
    uint64_t size;        /* in bytes */
    uint64_t version;     /* of this sealed state, given out once */
    uint64_t modified_ms; /* when it was sealed, in milliseconds since the Unix epoch */
    uint32_t crc32c;      /* of all bytes, where it was computed */
    uint8_t has_crc32c;   /* whether it was */
    uint8_t tier;         /* one of geds_tier */
    uint8_t reserved[2];
};

/* The message of this thread's last failure, never null; it stays as it is until this thread's next one. */
const char *geds_error(void);

/* The name of a status, such as "not found"; never null. */
const char *geds_status_name(int32_t status);

/* Opens the store at a place: the socket of the host's node, or a folder for a store of this process alone.
 * A place that is not there is a socket if its name ends with ".sock", else a folder to be made. A null
 * pointer stands for the place that the variable CLOUDSKIN_GEDS names. A folder can be open once. */
int32_t geds_open(const char *place, geds_store *store);

/* Closes a store. Files and views that were opened with it stay open, and keep it. */
int32_t geds_close(geds_store store);

int32_t geds_create_bucket(geds_store store, const char *bucket);

/* Removes a bucket that has no objects. */
int32_t geds_delete_bucket(geds_store store, const char *bucket);

/* Makes an object of these bytes; it is sealed, and visible to everybody, when this returns. */
int32_t putObject(geds_store store, const char *bucket, const char *key, const void *bytes,
                  size_t length, uint32_t flags);

/* Copies up to `length` bytes of an object from `offset` on into a buffer, and returns how many: fewer only
 * at the end of the object, none behind it. */
int64_t readBytes(geds_store store, const char *bucket, const char *key, uint64_t offset,
                  void *buffer, size_t length);

/* Borrows all bytes of an object: without a copy where they lie together in memory. They stay as they are
 * until the view is released, also when the object is replaced or deleted; they must not be written. */
int32_t geds_view(geds_store store, const char *bucket, const char *key, geds_view_handle *view,
                  const void **bytes, size_t *length);

int32_t geds_view_release(geds_view_handle view);

int32_t geds_stat(geds_store store, const char *bucket, const char *key, struct geds_stat *stat);

/* Removes an object, and returns 1; 0 if there was none. */
int32_t geds_delete(geds_store store, const char *bucket, const char *key);

/* Makes another object of the same bytes, which are shared. */
int32_t geds_copy(geds_store store, const char *bucket, const char *key, const char *to_bucket,
                  const char *to_key, uint32_t flags);

/* Gives an object another key in its bucket. Its bytes stay where they are. */
int32_t geds_rename(geds_store store, const char *bucket, const char *key, const char *to_key,
                    uint32_t flags);

/* Calls `each` for the objects whose keys begin with `prefix`, in byte order, until it returns something
 * else than 0; gives what it returned, or 1 for that if it is negative. A null pointer stands for all. The
 * key has `length` bytes and a zero byte behind them; both arguments are gone when `each` returns, which it
 * must: no longjmp, no exception. It may call every function here. */
int32_t geds_list(geds_store store, const char *bucket, const char *prefix,
                  int (*each)(const char *key, size_t length, const struct geds_stat *stat,
                              void *context),
                  void *context);

/* Opens an object as a file, with the modes of fopen: "r", "w", "x" and "a", each with "+" and "b".
 *
 * A file that is written becomes an object when it is closed, and not before. "a" and "r+" begin with the
 * bytes of the object and make a new version of it; if another one was sealed meanwhile, closing fails with
 * GEDS_CONFLICT. Of the flags GEDS_DURABLE counts. One file may be used by several threads in turn. */
int32_t geds_file_open(geds_store store, const char *bucket, const char *key, const char *mode,
                       uint32_t flags, geds_file *file);

/* Reads from where the file stands, and returns how many bytes: fewer than `length` only at the end. */
int64_t geds_read(geds_file file, void *buffer, size_t length);

/* Writes all bytes where the file stands, or at its end if it was opened with "a", and returns how many.
 * After a write that failed no object comes to be. */
int64_t geds_write(geds_file file, const void *bytes, size_t length);

/* Goes to a place, as lseek does with SEEK_SET, SEEK_CUR and SEEK_END, and returns it. What is skipped behind
 * the end is zeros once something is written there. */
int64_t geds_seek(geds_file file, int64_t offset, int whence);

/* How many bytes the file has. */
int64_t geds_size(geds_file file);

/* Cuts the file to this size, or extends it with zeros. */
int32_t geds_truncate(geds_file file, uint64_t size);

/* Closes a file; one that was written becomes an object. The handle is closed also if that fails. */
int32_t geds_file_close(geds_file file);

/* Closes a file and makes no object. */
int32_t geds_file_discard(geds_file file);

#ifdef __cplusplus
}
#endif

#endif
