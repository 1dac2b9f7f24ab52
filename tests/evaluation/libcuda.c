// A CUDA driver without a GPU: its memory is a memory file. Enough of it to share memory between two processes.
// Every call checks its arguments as the driver's manual states them, and fails with 1 (CUDA_ERROR_INVALID_VALUE).
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef unsigned long long u64;
typedef struct { int type, id; } Location;
typedef struct {
    int type, handles;
    Location location;
    void *windows;
    struct { unsigned char compression, rdma; unsigned short usage; unsigned char reserved[4]; } flags;
} Properties;
typedef struct { Location location; int flags; } Access;

enum { GRANULARITY = 2 << 20 };
static int ready, context_of = -1;

static int fits(const Properties *p) {
    return p->type == 1 && p->handles == 1 && p->location.type == 1 && p->location.id == 0 && !p->windows &&
           !p->flags.compression && !p->flags.rdma && !p->flags.usage;
}
int cuInit(unsigned flags) { ready = 1; return flags != 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return !ready || ordinal; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &context_of; return device; }
int cuCtxSetCurrent(void *context) { context_of = 0; return context != &context_of; }
int cuMemGetAllocationGranularity(size_t *step, const Properties *p, int option) {
    *step = GRANULARITY;
    return !fits(p) || option;
}
int cuMemCreate(u64 *handle, size_t size, const Properties *p, u64 flags) {
    if (context_of || !fits(p) || !size || size % GRANULARITY || flags) return 1;
    int fd = memfd_create("gpu", MFD_CLOEXEC);
    *handle = fd;
    return fd < 0 || ftruncate(fd, size);
}
int cuMemExportToShareableHandle(void *shareable, u64 handle, int type, u64 flags) {
    *(int *)shareable = dup(handle);
    return type != 1 || flags != 0;
}
int cuMemImportFromShareableHandle(u64 *handle, void *shareable, int type) {
    *handle = dup((int)(intptr_t)shareable);
    return context_of || type != 1 || (int)*handle < 0;
}
int cuMemAddressReserve(u64 *pointer, size_t size, size_t alignment, u64 at, u64 flags) {
    void *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *pointer = (u64)place;
    return place == MAP_FAILED || alignment || at || flags;
}
int cuMemMap(u64 pointer, size_t size, size_t offset, u64 handle, u64 flags) {
    struct stat status;
    if (fstat(handle, &status) || (size_t)status.st_size < size || offset || flags) return 1;
    return mmap((void *)pointer, size, PROT_NONE, MAP_SHARED | MAP_FIXED, handle, 0) == MAP_FAILED;
}
int cuMemSetAccess(u64 pointer, size_t size, const Access *access, size_t count) {
    if (access->location.type != 1 || access->location.id || access->flags != 3 || count != 1) return 1;
    return mprotect((void *)pointer, size, PROT_READ | PROT_WRITE);
}
int cuMemRelease(u64 handle) { return close(handle); }
