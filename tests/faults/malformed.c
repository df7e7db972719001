/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends frames that nobody sends in good faith: each is noise, or a good frame with some bytes changed, cut
 * out, put in twice, or the tail of another one.
 *
 *	malformed DEVICE SEED COUNT < FRAMES
 *
 * FRAMES are the good ones, each after its length (two bytes, big endian). Prints one JSON object:
 * packets, bytes (with the Ethernet header).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define GOOD_MAX 1024
#define FRAME_MIN 20  /* the kernel drops a tagged frame that is shorter before any program sees it */
#define FRAME_MAX 300 /* it is headers that are to be hit */
#define HEADERS 120

struct frame {
	unsigned length;
	uint8_t bytes[2 * FRAME_MAX];
};

static struct frame good[GOOD_MAX];
static unsigned good_count;
static uint64_t state;

static const uint8_t telling[] = {0,  1,  4,  5,  6,  17,  41,	43,  44,   47,	 50,   51,  58,
				  59, 60, 0x45, 0x4f, 0x60, 0x7f, 0x80, 135, 139, 140, 0xfe, 0xff};
static const uint16_t types[] = {0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x8864, 0x8847};

static void die(const char *what)
{
	fprintf(stderr, "malformed: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t mixed = state += 0x9e3779b97f4a7c15;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
	return mixed ^ mixed >> 31;
}

static unsigned below(unsigned limit)
{
	return (unsigned)(next() >> 32) % limit;
}

static void read_good(void)
{
	uint8_t length[2];

	while (good_count < GOOD_MAX && fread(length, 2, 1, stdin) == 1) {
		struct frame *frame = &good[good_count++];
		unsigned i, whole = (unsigned)length[0] << 8 | length[1];

		for (i = 0; i < whole; i++) {
			int byte = getchar();

			if (i < FRAME_MAX)
				frame->bytes[frame->length++] = (uint8_t)byte;
		}
	}
	if (!good_count)
		die("no frames");
}

static void make_noise(struct frame *frame)
{
	uint16_t type = types[below(sizeof(types) / sizeof(*types))];
	unsigned i;

	frame->length = FRAME_MIN + below(180);
	for (i = 0; i < frame->length; i++)
		frame->bytes[i] = (uint8_t)next();
	if (below(5)) {
		frame->bytes[12] = (uint8_t)(type >> 8);
		frame->bytes[13] = (uint8_t)type;
	}
	if (below(5))
		frame->bytes[14] = (uint8_t[]){0x45, 0x46, 0x4f, 0x60}[below(4)];
}

static void mutate(struct frame *frame)
{
	unsigned at = below(frame->length < HEADERS ? frame->length : HEADERS);
	unsigned rest = frame->length - at, size;
	const struct frame *other;

	switch (below(5)) {
	case 0:
		frame->bytes[at] = telling[below(sizeof(telling))];
		return;
	case 1:
		frame->bytes[at] ^= (uint8_t)(1 << below(8));
		return;
	case 2:
		size = 1 + below(8);
		if (size > rest)
			size = rest;
		memmove(frame->bytes + at, frame->bytes + at + size, rest - size);
		frame->length -= size;
		return;
	case 3:
		size = (unsigned[]){4, 8, 14, 20, 40}[below(5)];
		if (size > rest)
			size = rest;
		memmove(frame->bytes + at + size, frame->bytes + at, rest);
		frame->length += size;
		break;
	default:
		other = &good[below(good_count)];
		if (at >= other->length)
			return;
		memcpy(frame->bytes + at, other->bytes + at, other->length - at);
		frame->length = other->length;
	}
	if (frame->length > FRAME_MAX)
		frame->length = FRAME_MAX;
}

static void make_frame(struct frame *frame)
{
	unsigned times;

	if (!below(4)) {
		make_noise(frame);
		return;
	}
	*frame = good[below(good_count)];
	for (times = below(5); times && frame->length; times--)
		mutate(frame);
	if (!below(4) && frame->length > FRAME_MIN)
		frame->length = FRAME_MIN + below(frame->length - FRAME_MIN);
	while (frame->length < FRAME_MIN)
		frame->bytes[frame->length++] = 0;
}

int main(int count, char **words)
{
	static struct frame frames[BATCH];
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
	struct mmsghdr messages[BATCH] = {0};
	struct iovec parts[BATCH];
	uint64_t sent = 0, bytes = 0, wanted;
	int fd = socket(AF_PACKET, SOCK_RAW, 0), done, i;

	if (count != 4 || fd < 0)
		die("socket, or arguments");
	to.sll_ifindex = (int)if_nametoindex(words[1]);
	state = strtoull(words[2], NULL, 10);
	wanted = strtoull(words[3], NULL, 10);
	read_good();
	while (sent < wanted) {
		unsigned batch = wanted - sent < BATCH ? (unsigned)(wanted - sent) : BATCH;

		for (i = 0; i < (int)batch; i++) {
			make_frame(&frames[i]);
			parts[i] = (struct iovec){frames[i].bytes, frames[i].length};
			messages[i].msg_hdr = (struct msghdr){.msg_name = &to,
							      .msg_namelen = sizeof(to),
							      .msg_iov = &parts[i],
							      .msg_iovlen = 1};
		}
		done = sendmmsg(fd, messages, batch, 0);
		if (done < 0 && errno != ENOBUFS && errno != EINTR)
			die("sendmmsg");
		for (i = 0; i < done; i++)
			bytes += frames[i].length;
		sent += done > 0 ? (uint64_t)done : 0;
	}
	printf("{\"packets\": %llu, \"bytes\": %llu}\n", (unsigned long long)sent,
	       (unsigned long long)bytes);
	return 0;
}
