/*
 * edged_shm.h - hand frames to edged from another process: `source: shm:NAME`.
 *
 * One header, C11 (GNU), Linux on x86-64 or arm64; nothing to link. Layout version 1.
 * SPDX-License-Identifier: MIT
 *
 *     struct edged_feeder *feeder;
 *     struct edged_picture picture = edged_nv12(1920, 1080);
 *     int fault = edged_feeder_open(&feeder, "front", &picture, 6, 30.0);
 *     while (...) {
 *         int slot = edged_feeder_reserve(feeder, &picture);        // -EAGAIN: the readers hold every slot; drop it
 *         fill(edged_plane(feeder, slot, &picture, 0), edged_plane(feeder, slot, &picture, 1));
 *         picture.capture_mono_ns = ...; picture.capture_unix_ns = ...; picture.clock = EDGED_CLOCK_DRIVER;
 *         edged_feeder_commit(feeder, slot, &picture);
 *     }
 *     edged_feeder_close(feeder);
 *
 * The ring is the file /dev/shm/NAME: a header of 4096 bytes, then `slots` slots of `slot_bytes` each, all little
 * endian. A slot is a head of 256 bytes (struct edged_picture) and its planes.
 *
 * Who is alive is told by locks on single bytes of the file (fcntl F_OFD_SETLK, exclusive), which the kernel takes
 * back from a process that dies: byte 0 is the feeder's, byte 1 + i that of reader entry i. Byte 9 is shared by the
 * readers that only copy (F_RDLCK).
 *
 * Feeder: makes a whole new file and then gives it the name (an old one is replaced only by whoever gets the lock on
 * its byte 0); never shrinks it. A picture is written so: choose a slot that is not the newest and that no live reader
 * holds; set its `sequence` to 0; full barrier; look once more whether a live reader holds it (then put the old
 * sequence back and choose another); write planes and head; release; set `sequence` to the next number (from 1);
 * release; set `newest` to sequence << 8 | slot; set `beat_mono_ns`; add 1 to `bell` and wake it (FUTEX_WAKE, not
 * private).
 *
 * Reader: waits for `bell` (FUTEX_WAIT), takes sequence and slot from `newest`, sets the slot's bit in its own word
 * of `held`, full barrier, and reads the slot's `sequence`: another one than expected means that the feeder was
 * faster, and the bit is taken back. While the bit is set the feeder leaves the slot alone; all readers together keep
 * no more than `slots` - 3 so, and copy what they need beyond that. A reader without an entry copies the picture and
 * then reads `sequence` again: another one means that the copy is torn, and it is thrown away.
 */
#ifndef EDGED_SHM_H
#define EDGED_SHM_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first #include: fcntl's locks of open files need it"
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EDGED_SHM_MAGIC "EDGEDSHM"
#define EDGED_SHM_VERSION 1u
#define EDGED_SHM_HEADER_BYTES 4096u
#define EDGED_SHM_HEAD_BYTES 256u
#define EDGED_SHM_READERS 8u
#define EDGED_SHM_SLOTS_MIN 3u
#define EDGED_SHM_SLOTS_MAX 64u
#define EDGED_SHM_SIDE_MAX 16384u

enum edged_state { EDGED_MAKING = 0, EDGED_LIVE = 1, EDGED_REPLACED = 2, EDGED_CLOSED = 3 };
enum edged_format { EDGED_NV12 = 1, EDGED_YUV420 = 2, EDGED_RGB = 3, EDGED_GRAY = 4 };
enum edged_matrix { EDGED_BT601 = 1, EDGED_BT709 = 2, EDGED_BT2020 = 3 };
enum edged_range { EDGED_LIMITED = 0, EDGED_FULL = 1 };
/* Where a capture time comes from: nowhere (readers take the time of arrival), the camera's driver, an RTCP sender. */
enum edged_clock { EDGED_CLOCK_NONE = 0, EDGED_CLOCK_DRIVER = 1, EDGED_CLOCK_RTCP = 2 };

/* One plane: bytes from the slot's start (256 and more), bytes from row to row, size in samples (a pair of U and V is
 * one column of NV12's second plane, a pixel one column of RGB). */
struct edged_place {
    uint32_t offset, stride, columns, rows;
};

/* A slot's head. */
struct edged_picture {
    _Atomic uint64_t sequence; /* 0 while it is being written */
    uint32_t width, height;
    uint32_t format; /* enum edged_format */
    uint32_t matrix; /* enum edged_matrix */
    uint32_t range;  /* enum edged_range */
    uint32_t clock;  /* enum edged_clock */
    uint64_t capture_mono_ns; /* CLOCK_MONOTONIC of this machine */
    uint64_t capture_unix_ns; /* the same moment in Unix time */
    struct edged_place planes[3];
};

struct edged_header {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint32_t slots;
    uint32_t readers; /* EDGED_SHM_READERS */
    uint64_t slot_bytes; /* with its head; a multiple of 4096, at most 1 GiB */
    uint64_t generation; /* random, another one for each ring */
    uint32_t feeder_pid;
    _Atomic uint32_t state; /* enum edged_state */
    uint32_t rate_mhz;      /* pictures in 1000 s; 0: not known */
    uint32_t reserved[3];
    _Atomic uint64_t newest; /* at 64 */
    _Atomic uint64_t beat_mono_ns;
    _Atomic uint32_t bell;
    uint32_t reserved2;
    _Atomic uint64_t dropped; /* pictures for which no slot was free */
    uint64_t reserved3[4];
    struct {
        _Atomic uint64_t slots; /* bit i: slot i is being read */
        uint64_t reserved[7];
    } held[EDGED_SHM_READERS]; /* at 128 */
};

_Static_assert(offsetof(struct edged_header, newest) == 64, "layout");
_Static_assert(offsetof(struct edged_header, bell) == 80, "layout");
_Static_assert(offsetof(struct edged_header, held) == 128, "layout");
_Static_assert(offsetof(struct edged_picture, capture_mono_ns) == 32, "layout");
_Static_assert(sizeof(struct edged_picture) == 96, "layout");

struct edged_feeder {
    int fd;
    int newest;
    uint64_t bytes, sequence;
    struct edged_header *header;
    uint64_t written[EDGED_SHM_SLOTS_MAX]; /* each slot's sequence */
    char path[80];
};

/* ---- pictures --------------------------------------------------------------------------------------------------- */

static inline uint32_t edged_columns_bytes(const struct edged_picture *picture, int plane) {
    return picture->format == EDGED_RGB ? 3 : picture->format == EDGED_NV12 && plane ? 2 : 1;
}

static inline int edged_planes(const struct edged_picture *picture) {
    return picture->format == EDGED_NV12 ? 2 : picture->format == EDGED_YUV420 ? 3 : 1;
}

/* Describe a picture whose planes follow each other without padding, rows of `stride` bytes (0: as short as may be). */
static inline struct edged_picture edged_describe(uint32_t format, uint32_t width, uint32_t height, uint32_t stride) {
    struct edged_picture picture = {.width = width, .height = height, .format = format, .matrix = EDGED_BT709};
    uint32_t at = EDGED_SHM_HEAD_BYTES;
    for (int i = 0; i < edged_planes(&picture); i++) {
        struct edged_place *place = &picture.planes[i];
        place->columns = i ? (width + 1) / 2 : width;
        place->rows = i ? (height + 1) / 2 : height;
        uint32_t row = place->columns * edged_columns_bytes(&picture, i);
        uint32_t wanted = format == EDGED_YUV420 && i ? stride / 2 : stride;
        place->stride = wanted > row ? wanted : row;
        place->offset = at;
        at += (place->stride * place->rows + 63) / 64 * 64;
    }
    return picture;
}

static inline struct edged_picture edged_nv12(uint32_t width, uint32_t height) {
    return edged_describe(EDGED_NV12, width, height, 0);
}

static inline uint64_t edged_slot_bytes(const struct edged_picture *picture) {
    uint64_t end = EDGED_SHM_HEAD_BYTES;
    for (int i = 0; i < edged_planes(picture); i++) {
        const struct edged_place *place = &picture->planes[i];
        uint64_t last = place->offset + (uint64_t)place->stride * place->rows;
        end = last > end ? last : end;
    }
    return (end + 4095) / 4096 * 4096;
}

/* ---- the kernel's part ------------------------------------------------------------------------------------------ */

static inline uint64_t edged_now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline int edged_lock_byte(int fd, off_t byte) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static inline int edged_is_locked(int fd, off_t byte) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static inline void edged_ring_bell(struct edged_feeder *feeder) {
    atomic_fetch_add_explicit(&feeder->header->bell, 1, memory_order_seq_cst);
    syscall(SYS_futex, &feeder->header->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- the feeder ------------------------------------------------------------------------------------------------- */

/* Remove the ring of a feeder that is gone. */
static inline int edged_remove_stale(const char *path) {
    struct stat named, opened;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int fault = edged_lock_byte(fd, 0) ? -EBUSY : 0; /* fed by another process */
    if (!fault && !stat(path, &named) && !fstat(fd, &opened) && named.st_ino == opened.st_ino)
        unlink(path);
    close(fd);
    return fault;
}

/* Give the finished file its name. */
static inline int edged_name_ring(int fd, const char *path) {
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    while (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW)) {
        if (errno != EEXIST)
            return -errno;
        int fault = edged_remove_stale(path);
        if (fault)
            return fault;
    }
    return 0;
}

static inline void edged_feeder_free(struct edged_feeder *feeder) {
    if (feeder->header)
        munmap(feeder->header, feeder->bytes);
    if (feeder->fd >= 0)
        close(feeder->fd);
    free(feeder);
}

/*
 * Make the ring /dev/shm/NAME for pictures as large as `largest`. `slots` is 3 to 64: readers keep up to `slots` - 3 in
 * use. Returns 0 or a negative errno: -EBUSY when another process feeds this name, -ENOSPC when /dev/shm is full.
 */
static inline int edged_feeder_open(struct edged_feeder **out, const char *name, const struct edged_picture *largest,
                                    uint32_t slots, double rate_hz) {
    uint64_t slot_bytes = edged_slot_bytes(largest);
    if (slots < EDGED_SHM_SLOTS_MIN || slots > EDGED_SHM_SLOTS_MAX || slot_bytes > 1u << 30 || strlen(name) > 64 ||
        strchr(name, '/') || !*name)
        return -EINVAL;
    struct edged_feeder *feeder = calloc(1, sizeof *feeder);
    if (!feeder)
        return -ENOMEM;
    snprintf(feeder->path, sizeof feeder->path, "/dev/shm/%s", name);
    feeder->newest = -1;
    feeder->bytes = EDGED_SHM_HEADER_BYTES + slots * slot_bytes;
    feeder->fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0660);
    int fault = feeder->fd < 0 ? -errno : -posix_fallocate(feeder->fd, 0, (off_t)feeder->bytes);
    if (!fault && fchmod(feeder->fd, 0660))
        fault = -errno;
    if (!fault) {
        void *memory = mmap(NULL, feeder->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, feeder->fd, 0);
        fault = memory == MAP_FAILED ? -errno : edged_lock_byte(feeder->fd, 0);
        feeder->header = memory == MAP_FAILED ? NULL : memory;
    }
    if (!fault) {
        struct edged_header *header = feeder->header;
        memcpy(header->magic, EDGED_SHM_MAGIC, 8);
        header->version = EDGED_SHM_VERSION;
        header->header_bytes = EDGED_SHM_HEADER_BYTES;
        header->slots = slots;
        header->readers = EDGED_SHM_READERS;
        header->slot_bytes = slot_bytes;
        header->generation = edged_now_ns(CLOCK_REALTIME) ^ ((uint64_t)getpid() << 40);
        header->feeder_pid = (uint32_t)getpid();
        header->rate_mhz = (uint32_t)(rate_hz * 1000 + 0.5);
        atomic_store(&header->beat_mono_ns, edged_now_ns(CLOCK_MONOTONIC));
        atomic_store(&header->state, EDGED_LIVE);
        fault = edged_name_ring(feeder->fd, feeder->path);
    }
    if (fault) {
        edged_feeder_free(feeder);
        return fault;
    }
    *out = feeder;
    return 0;
}

static inline struct edged_picture *edged_slot(const struct edged_feeder *feeder, int slot) {
    char *start = (char *)feeder->header + EDGED_SHM_HEADER_BYTES;
    return (struct edged_picture *)(start + (uint64_t)slot * feeder->header->slot_bytes);
}

/* The slots that live readers hold. */
static inline uint64_t edged_held(const struct edged_feeder *feeder) {
    uint64_t held = 0;
    for (unsigned i = 0; i < EDGED_SHM_READERS; i++) {
        uint64_t word = atomic_load(&feeder->header->held[i].slots);
        if ((word & ~held) && edged_is_locked(feeder->fd, 1 + (off_t)i))
            held |= word;
    }
    return held;
}

/*
 * Choose a slot for the next picture, the oldest one that nobody reads. Returns its number; -EAGAIN when the readers
 * hold every slot (drop the picture); -EMSGSIZE when the picture is larger than the ring's slots (close the feeder and
 * open it with the new size).
 */
static inline int edged_feeder_reserve(struct edged_feeder *feeder, const struct edged_picture *picture) {
    struct edged_header *header = feeder->header;
    if (edged_slot_bytes(picture) > header->slot_bytes)
        return -EMSGSIZE;
    uint64_t tried = edged_held(feeder) | (feeder->newest < 0 ? 0 : UINT64_C(1) << feeder->newest);
    for (;;) {
        int slot = -1;
        for (unsigned i = 0; i < header->slots; i++)
            if (!(tried >> i & 1) && (slot < 0 || feeder->written[i] < feeder->written[slot]))
                slot = (int)i;
        if (slot < 0) {
            atomic_fetch_add(&header->dropped, 1);
            return -EAGAIN;
        }
        atomic_store(&edged_slot(feeder, slot)->sequence, 0);
        atomic_thread_fence(memory_order_seq_cst);
        if (!(edged_held(feeder) >> slot & 1))
            return slot;
        atomic_store(&edged_slot(feeder, slot)->sequence, feeder->written[slot]);
        tried |= UINT64_C(1) << slot;
    }
}

/* Where plane `plane` of a picture is to be written. Valid from `reserve` to `commit`. */
static inline uint8_t *edged_plane(const struct edged_feeder *feeder, int slot, const struct edged_picture *picture,
                                   int plane) {
    return (uint8_t *)edged_slot(feeder, slot) + picture->planes[plane].offset;
}

/* Publish a reserved slot whose planes are written, and wake the readers. */
static inline void edged_feeder_commit(struct edged_feeder *feeder, int slot, const struct edged_picture *picture) {
    size_t after = offsetof(struct edged_picture, width);
    struct edged_picture *head = edged_slot(feeder, slot);
    memcpy((char *)head + after, (const char *)picture + after, sizeof *picture - after);
    feeder->written[slot] = ++feeder->sequence;
    feeder->newest = slot;
    atomic_store(&head->sequence, feeder->sequence);
    atomic_store(&feeder->header->newest, feeder->sequence << 8 | (uint64_t)slot);
    atomic_store(&feeder->header->beat_mono_ns, edged_now_ns(CLOCK_MONOTONIC));
    edged_ring_bell(feeder);
}

/* Say that the feeder is alive, though its camera gives nothing. */
static inline void edged_feeder_beat(struct edged_feeder *feeder) {
    atomic_store(&feeder->header->beat_mono_ns, edged_now_ns(CLOCK_MONOTONIC));
}

/* How many read: a feeder may rest while it is 0. All readers that copy count as one. */
static inline int edged_feeder_readers(const struct edged_feeder *feeder) {
    int readers = 0;
    for (unsigned i = 0; i <= EDGED_SHM_READERS; i++)
        readers += edged_is_locked(feeder->fd, 1 + (off_t)i);
    return readers;
}

/* End the ring: its readers are told, its name is free. */
static inline void edged_feeder_close(struct edged_feeder *feeder) {
    atomic_store(&feeder->header->state, EDGED_CLOSED);
    edged_ring_bell(feeder);
    unlink(feeder->path);
    edged_feeder_free(feeder);
}

#endif
