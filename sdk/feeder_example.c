/*
 * A feeder of moving grey bars: feeder_example NAME WIDTH HEIGHT RATE_HZ [PICTURES]
 *
 *     cc -std=gnu11 -O2 -Wall -o feeder_example feeder_example.c
 *
 * Replace `fill` by what your camera's interface gives. It rests while nobody reads.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "edged_shm.h"

#include <signal.h>

static volatile sig_atomic_t stopped;

static void stop(int number) {
    (void)number;
    stopped = 1;
}

/* Every sample of picture n is n % 256, so that a torn picture would show. */
static void fill(const struct edged_feeder *feeder, int slot, const struct edged_picture *picture, uint64_t number) {
    for (int i = 0; i < edged_planes(picture); i++) {
        const struct edged_place *place = &picture->planes[i];
        memset(edged_plane(feeder, slot, picture, i), (int)(number % 256), (size_t)place->stride * place->rows);
    }
}

static void sleep_s(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: %s NAME WIDTH HEIGHT RATE_HZ [PICTURES]\n", argv[0]);
        return 2;
    }
    struct edged_picture picture = edged_nv12((uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]));
    double rate_hz = atof(argv[4]);
    uint64_t pictures = argc > 5 ? strtoull(argv[5], NULL, 10) : UINT64_MAX;
    struct edged_feeder *feeder;
    int fault = edged_feeder_open(&feeder, argv[1], &picture, 6, rate_hz);
    if (fault) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(-fault));
        return 1;
    }
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    printf("ready\n");
    fflush(stdout);
    for (uint64_t number = 1; number <= pictures && !stopped; sleep_s(1 / rate_hz)) {
        edged_feeder_beat(feeder);
        if (!edged_feeder_readers(feeder))
            continue;
        int slot = edged_feeder_reserve(feeder, &picture);
        if (slot < 0)
            continue;
        picture.clock = EDGED_CLOCK_DRIVER;
        picture.capture_mono_ns = edged_now_ns(CLOCK_MONOTONIC);
        picture.capture_unix_ns = edged_now_ns(CLOCK_REALTIME);
        fill(feeder, slot, &picture, number++);
        edged_feeder_commit(feeder, slot, &picture);
    }
    edged_feeder_close(feeder);
    return 0;
}
