/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded, it lets a test step the wall clock of one process: to CLOCK_REALTIME it adds the nanoseconds
 * that the file $WALL_CLOCK holds, at each call. The file is mapped at the start, before the process
 * closes the file system to itself. CLOCK_MONOTONIC and CLOCK_BOOTTIME are the kernel's, as at a real step.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000

static const volatile int64_t *step_ns;

__attribute__((constructor)) static void map_step(void)
{
	int fd = open(getenv("WALL_CLOCK"), O_RDONLY | O_CLOEXEC);
	void *mapped = mmap(NULL, sizeof(*step_ns), PROT_READ, MAP_SHARED, fd, 0);

	if (mapped == MAP_FAILED)
		abort(); /* a step that does nothing would prove nothing */
	step_ns = mapped;
	close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	int result = (int)syscall(SYS_clock_gettime, clock, at);
	int64_t ns;

	if (result || clock != CLOCK_REALTIME)
		return result;
	ns = at->tv_sec * (int64_t)SECOND + at->tv_nsec + *step_ns;
	*at = (struct timespec){ns / SECOND, ns % SECOND};
	return 0;
}
