/* A disk that can forget and fail, below an unchanged process: preloaded into a member, see disk_shim.py.

   For every path below SHIM_ROOT it writes ahead, into SHIM_SIDE, how to undo what the process is about to do: the bytes
   that a write covers, the length before it changes, the names before they change, and which syncs ended. After a
   SIGKILL, power_loss.py puts back a random part of what was not synced. Removed files stay linked in SHIM_SIDE until
   then. Faults and the wall clock follow SHIM_CONTROL, a page that the test may write to at any time. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define SAME_AS(name) __attribute__((visibility("default"), alias(#name)))
#define DESCRIPTORS 65536
#define UNDO_NAME "undo-%06d"
#define REAL(name) ((__typeof__(name) *)real_function(#name))

enum kind { WRITE = 1, LENGTH, CREATE, REMOVE, RENAME, SYNC_BEGIN, SYNC_END };

/* What stands before the names and bytes of each record; disk_shim.py unpacks it. */
struct record {
  uint32_t kind;
  uint32_t name_bytes;      /* of the name, then of the second one, both behind the record */
  uint32_t second_bytes;
  uint32_t reserved;
  uint64_t inode;           /* of the file written, named or synced */
  uint64_t directory;       /* of the name */
  uint64_t second_directory;
  uint64_t replaced;        /* inode that a rename takes the name from */
  int64_t offset;           /* WRITE: of the bytes; LENGTH: before */
  int64_t size;             /* WRITE: bytes covered; LENGTH: after; SYNC: its number */
  int64_t saved;            /* old bytes behind the names; fewer than covered: the rest was zero or not there */
};

/* The page that the test writes to. An errno of 0 is no fault. */
struct control {
  char only[256];           /* faults and lost syncs are for paths that contain this */
  int32_t open_error, read_error, write_error, sync_error, name_error;
  int32_t lose_syncs;       /* 1: syncs do nothing, and say that all is well */
  int64_t wall_clock_s;     /* added to the wall clock */
  int64_t syncs, faults;    /* counted here for the test */
};

static const char *root, *side;
static size_t root_length;
static struct control no_control;
static struct control *control = &no_control;
static int undo = -1;
static int64_t sync_number;
static uint64_t inode_of[DESCRIPTORS]; /* 0: not below the root */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void *real_function(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

static void give_up(const char *what) {
  dprintf(2, "disk shim: %s: %s\n", what, strerror(errno));
  _exit(99);
}

/* One undo file for each process: the last record of a killed one may be cut off. */
static void open_undo(void) {
  char path[PATH_MAX];
  for (int number = 0; undo < 0; number++) {
    snprintf(path, sizeof path, "%s/" UNDO_NAME, side, number);
    undo = REAL(open)(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (undo < 0 && errno != EEXIST) give_up(path);
  }
}

static void begin(void) {
  const char *page = getenv("SHIM_CONTROL");
  root = getenv("SHIM_ROOT");
  side = getenv("SHIM_SIDE");
  root_length = root ? strlen(root) : 0;
  if (page) {
    int file = REAL(open)(page, O_RDWR | O_CLOEXEC);
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) give_up(page);
    REAL(close)(file);
    control = mapped;
  }
  if (root && side) open_undo();
}

static int is_ours(const char *path) {
  pthread_once(&once, begin);
  return root && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static uint64_t tracked(int file) {
  return file >= 0 && file < DESCRIPTORS ? inode_of[file] : 0;
}

static int fails(int error, const char *path) {
  if (!error || !strstr(path, control->only)) return 0;
  __atomic_add_fetch(&control->faults, 1, __ATOMIC_RELAXED);
  errno = error;
  return 1;
}

static const char *path_of(int file, char *path) { /* as it is now: a file may have been renamed since it was opened */
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = 0;
  return path;
}

static int file_fails(int error, int file) {
  char path[PATH_MAX];
  return error && fails(error, path_of(file, path));
}

/* --- records --- */

static void append(const struct record *record, const char *name, const char *second, const void *saved) {
  struct iovec parts[] = {
      {(void *)record, sizeof *record},
      {(void *)name, record->name_bytes},
      {(void *)second, record->second_bytes},
      {(void *)saved, (size_t)record->saved},
  };
  size_t total = sizeof *record + record->name_bytes + record->second_bytes + (size_t)record->saved;
  if (undo >= 0 && REAL(writev)(undo, parts, 4) != (ssize_t)total) give_up("undo file");
}

static uint64_t inode_at(const char *path) {
  struct stat facts;
  return lstat(path, &facts) ? 0 : facts.st_ino;
}

static uint64_t directory_of(const char *path, const char **name) {
  char parent[PATH_MAX];
  const char *slash = strrchr(path, '/');
  snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
  *name = slash + 1;
  return inode_at(parent);
}

static void record_name(enum kind kind, const char *path, uint64_t inode) {
  const char *name;
  struct record record = {.kind = kind, .inode = inode, .directory = directory_of(path, &name)};
  record.name_bytes = strlen(name);
  append(&record, name, "", "");
}

static void record_length(uint64_t inode, int64_t before, int64_t after) {
  struct record record = {.kind = LENGTH, .inode = inode, .offset = before, .size = after};
  append(&record, "", "", "");
}

/* Save the bytes that are about to be written over; zeros and what is behind the end need no saving. */
static void record_write(int file, uint64_t inode, int64_t offset, size_t size) {
  char link[64];
  struct stat facts;
  struct record record = {.kind = WRITE, .inode = inode, .offset = offset, .size = (int64_t)size};
  char *old = malloc(size ? size : 1);
  if (fstat(file, &facts)) give_up("fstat");
  ssize_t got = REAL(pread)(file, old, size, offset);
  if (got < 0) { /* open for writing only */
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int again = REAL(open)(link, O_RDONLY | O_CLOEXEC);
    got = REAL(pread)(again, old, size, offset);
    REAL(close)(again);
  }
  while (got > 0 && !old[got - 1]) got--;
  record.saved = got < 0 ? 0 : got;
  append(&record, "", "", old);
  free(old);
  if (offset + (int64_t)size > facts.st_size) record_length(inode, facts.st_size, offset + (int64_t)size);
}

static void record_cut(int file, uint64_t inode, int64_t length) {
  struct stat facts;
  if (fstat(file, &facts)) give_up("fstat");
  if (length < facts.st_size) record_write(file, inode, length, (size_t)(facts.st_size - length));
  record_length(inode, facts.st_size, length);
}

/* Keep what loses its last name, so that the name can come back. */
static void keep(const char *path, uint64_t inode) {
  char kept[PATH_MAX];
  if (undo < 0 || !inode) return;
  snprintf(kept, sizeof kept, "%s/file-%llu", side, (unsigned long long)inode);
  if (REAL(link)(path, kept) && errno != EEXIST) give_up(kept);
}

/* --- descriptors --- */

EXPORT int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (!is_ours(path)) return REAL(open)(path, flags, mode);
  if (fails(control->open_error, path)) return -1;
  pthread_mutex_lock(&lock);
  int is_new = (flags & O_CREAT) && !inode_at(path);
  int file = REAL(open)(path, flags & ~O_TRUNC, mode);
  struct stat facts;
  if (file >= 0 && file < DESCRIPTORS && !fstat(file, &facts)) {
    inode_of[file] = facts.st_ino;
    if (is_new) record_name(CREATE, path, facts.st_ino);
    if ((flags & O_TRUNC) && facts.st_size) {
      record_cut(file, facts.st_ino, 0);
      if (REAL(ftruncate)(file, 0)) give_up("ftruncate");
    }
  }
  pthread_mutex_unlock(&lock);
  return file;
}
SAME_AS(open) int open64(const char *path, int flags, ...);

EXPORT int openat(int directory, const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (is_ours(path)) return open(path, flags, mode);
  return REAL(openat)(directory, path, flags, mode);
}
SAME_AS(openat) int openat64(int directory, const char *path, int flags, ...);

EXPORT int close(int file) {
  if (file >= 0 && file < DESCRIPTORS) inode_of[file] = 0;
  return REAL(close)(file);
}

EXPORT int dup2(int from, int to) {
  int done = REAL(dup2)(from, to);
  if (done >= 0 && done < DESCRIPTORS) inode_of[done] = tracked(from);
  return done;
}

EXPORT int dup3(int from, int to, int flags) {
  int done = REAL(dup3)(from, to, flags);
  if (done >= 0 && done < DESCRIPTORS) inode_of[done] = tracked(from);
  return done;
}

/* --- contents --- */

EXPORT ssize_t pread(int file, void *data, size_t size, off_t offset) {
  if (tracked(file) && file_fails(control->read_error, file)) return -1;
  return REAL(pread)(file, data, size, offset);
}
SAME_AS(pread) ssize_t pread64(int file, void *data, size_t size, off_t offset);

EXPORT ssize_t read(int file, void *data, size_t size) {
  if (tracked(file) && file_fails(control->read_error, file)) return -1;
  return REAL(read)(file, data, size);
}

EXPORT ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t offset, int flags) {
  uint64_t inode = tracked(file);
  size_t total = 0;
  if (!inode) return REAL(pwritev2)(file, parts, count, offset, flags);
  if (file_fails(control->write_error, file)) return -1;
  for (int part = 0; part < count; part++) total += parts[part].iov_len;
  pthread_mutex_lock(&lock);
  if (offset < 0) {
    struct stat facts;
    int is_appended = REAL(fcntl)(file, F_GETFL) & O_APPEND;
    off_t at = is_appended && !fstat(file, &facts) ? facts.st_size : lseek(file, 0, SEEK_CUR);
    record_write(file, inode, at, total);
  } else {
    record_write(file, inode, offset, total);
  }
  ssize_t written = REAL(pwritev2)(file, parts, count, offset, flags);
  pthread_mutex_unlock(&lock);
  return written;
}
SAME_AS(pwritev2) ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off_t offset, int flags);

EXPORT ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
  return tracked(file) ? pwritev2(file, parts, count, offset, 0) : REAL(pwritev)(file, parts, count, offset);
}
SAME_AS(pwritev) ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t offset);

EXPORT ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
  struct iovec part = {(void *)data, size};
  return tracked(file) ? pwritev2(file, &part, 1, offset, 0) : REAL(pwrite)(file, data, size, offset);
}
SAME_AS(pwrite) ssize_t pwrite64(int file, const void *data, size_t size, off_t offset);

EXPORT ssize_t writev(int file, const struct iovec *parts, int count) {
  return tracked(file) ? pwritev2(file, parts, count, -1, 0) : REAL(writev)(file, parts, count);
}

EXPORT ssize_t write(int file, const void *data, size_t size) {
  struct iovec part = {(void *)data, size};
  return tracked(file) ? pwritev2(file, &part, 1, -1, 0) : REAL(write)(file, data, size);
}

EXPORT int ftruncate(int file, off_t length) {
  uint64_t inode = tracked(file);
  if (!inode) return REAL(ftruncate)(file, length);
  if (file_fails(control->write_error, file)) return -1;
  pthread_mutex_lock(&lock);
  record_cut(file, inode, length);
  int done = REAL(ftruncate)(file, length);
  pthread_mutex_unlock(&lock);
  return done;
}
SAME_AS(ftruncate) int ftruncate64(int file, off_t length);

EXPORT int truncate(const char *path, off_t length) {
  if (!is_ours(path)) return REAL(truncate)(path, length);
  int file = open(path, O_RDWR | O_CLOEXEC);
  int done = file < 0 ? -1 : ftruncate(file, length);
  if (file >= 0) close(file);
  return done;
}
SAME_AS(truncate) int truncate64(const char *path, off_t length);

EXPORT int posix_fallocate(int file, off_t offset, off_t size) {
  uint64_t inode = tracked(file);
  struct stat facts;
  if (!inode) return REAL(posix_fallocate)(file, offset, size);
  if (file_fails(control->write_error, file)) return errno;
  pthread_mutex_lock(&lock);
  if (!fstat(file, &facts) && offset + size > facts.st_size) record_length(inode, facts.st_size, offset + size);
  int done = REAL(posix_fallocate)(file, offset, size);
  pthread_mutex_unlock(&lock);
  return done;
}
SAME_AS(posix_fallocate) int posix_fallocate64(int file, off_t offset, off_t size);

EXPORT int fallocate(int file, int mode, off_t offset, off_t size) {
  uint64_t inode = tracked(file);
  struct stat facts;
  if (!inode) return REAL(fallocate)(file, mode, offset, size);
  if (file_fails(control->write_error, file)) return -1;
  pthread_mutex_lock(&lock);
  if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) record_write(file, inode, offset, (size_t)size);
  else if (!mode && !fstat(file, &facts) && offset + size > facts.st_size)
    record_length(inode, facts.st_size, offset + size);
  int done = REAL(fallocate)(file, mode, offset, size);
  pthread_mutex_unlock(&lock);
  return done;
}
SAME_AS(fallocate) int fallocate64(int file, int mode, off_t offset, off_t size);

/* A copy inside the kernel cannot be recorded; whoever asks for one falls back to reading and writing. */
EXPORT ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags) {
  if (!tracked(to)) return REAL(copy_file_range)(from, at, to, there, size, flags);
  errno = ENOSYS;
  return -1;
}

EXPORT ssize_t sendfile(int to, int from, off_t *offset, size_t size);
ssize_t sendfile(int to, int from, off_t *offset, size_t size) {
  if (!tracked(to)) return REAL(sendfile)(to, from, offset, size);
  errno = EINVAL;
  return -1;
}
SAME_AS(sendfile) ssize_t sendfile64(int to, int from, off64_t *offset, size_t size);

/* --- syncs: what was recorded before one began is durable once it has ended --- */

static void record_sync(enum kind kind, uint64_t inode, int64_t number) {
  struct record record = {.kind = kind, .inode = inode, .size = number};
  pthread_mutex_lock(&lock);
  append(&record, "", "", "");
  pthread_mutex_unlock(&lock);
}

static int synced(int file, int (*sync)(int)) {
  char path[PATH_MAX];
  uint64_t inode = tracked(file);
  if (!inode) return sync(file);
  __atomic_add_fetch(&control->syncs, 1, __ATOMIC_RELAXED);
  if (file_fails(control->sync_error, file)) return -1;
  if (control->lose_syncs && strstr(path_of(file, path), control->only)) return 0;
  int64_t number = __atomic_add_fetch(&sync_number, 1, __ATOMIC_RELAXED);
  record_sync(SYNC_BEGIN, inode, number);
  int done = sync(file);
  if (!done) record_sync(SYNC_END, inode, number);
  return done;
}

EXPORT int fsync(int file) { return synced(file, REAL(fsync)); }
EXPORT int fdatasync(int file) { return synced(file, REAL(fdatasync)); }

/* --- names --- */

EXPORT int rename(const char *from, const char *to) {
  const char *name, *second;
  if (!is_ours(from) && !is_ours(to)) return REAL(rename)(from, to);
  if (fails(control->name_error, to)) return -1;
  pthread_mutex_lock(&lock);
  struct record record = {.kind = RENAME, .inode = inode_at(from), .replaced = inode_at(to)};
  record.directory = directory_of(from, &name);
  record.second_directory = directory_of(to, &second);
  record.name_bytes = strlen(name);
  record.second_bytes = strlen(second);
  keep(to, record.replaced);
  append(&record, name, second, "");
  int done = REAL(rename)(from, to);
  pthread_mutex_unlock(&lock);
  return done;
}

EXPORT int unlink(const char *path) {
  if (!is_ours(path)) return REAL(unlink)(path);
  if (fails(control->name_error, path)) return -1;
  pthread_mutex_lock(&lock);
  uint64_t inode = inode_at(path);
  keep(path, inode);
  if (inode) record_name(REMOVE, path, inode);
  int done = REAL(unlink)(path);
  pthread_mutex_unlock(&lock);
  return done;
}

EXPORT int link(const char *from, const char *to) {
  if (!is_ours(to)) return REAL(link)(from, to);
  if (fails(control->name_error, to)) return -1;
  pthread_mutex_lock(&lock);
  if (!inode_at(to)) record_name(CREATE, to, inode_at(from));
  int done = REAL(link)(from, to);
  pthread_mutex_unlock(&lock);
  return done;
}

EXPORT int mkdir(const char *path, mode_t mode) {
  if (!is_ours(path)) return REAL(mkdir)(path, mode);
  if (fails(control->name_error, path)) return -1;
  pthread_mutex_lock(&lock);
  int done = REAL(mkdir)(path, mode);
  if (!done) record_name(CREATE, path, inode_at(path));
  pthread_mutex_unlock(&lock);
  return done;
}

static int is_empty(const char *path) {
  DIR *opened = opendir(path);
  int names = 0;
  while (opened && readdir(opened)) names++;
  if (opened) closedir(opened);
  return names == 2;
}

EXPORT int rmdir(const char *path) { /* moved away: its inode must not be used again while it can come back */
  char kept[PATH_MAX];
  if (!is_ours(path) || undo < 0) return REAL(rmdir)(path);
  if (fails(control->name_error, path)) return -1;
  pthread_mutex_lock(&lock);
  uint64_t inode = inode_at(path);
  int done = -1;
  if (inode && is_empty(path)) {
    snprintf(kept, sizeof kept, "%s/directory-%llu", side, (unsigned long long)inode);
    record_name(REMOVE, path, inode);
    done = REAL(rename)(path, kept);
  } else {
    errno = inode ? ENOTEMPTY : ENOENT;
  }
  pthread_mutex_unlock(&lock);
  return done;
}

/* --- the wall clock --- */

EXPORT int clock_gettime(clockid_t id, struct timespec *now) {
  pthread_once(&once, begin);
  int done = REAL(clock_gettime)(id, now);
  if (!done && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += control->wall_clock_s;
  return done;
}

EXPORT int gettimeofday(struct timeval *now, void *zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

EXPORT time_t time(time_t *out) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (out) *out = exact.tv_sec;
  return exact.tv_sec;
}
