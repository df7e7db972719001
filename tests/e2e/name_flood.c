/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends as many names as it is told, each of which never comes again, as fast as it can or
 * at a rate.
 *
 *	name_flood --device IF --to MAC --kind tls|dns --count N [--first N] [--rate NAMES-A-SECOND]
 *		[--length CHARACTERS]
 *
 * A name is 16 hexadecimal digits and `.flood.example`, 30 characters; with more to it than that, up to 253,
 * there are labels of x in between. With tls it is in a ClientHello, the first
 * packet of a connection of its own. With dns there are three packets: a client's query, the answer, and
 * a datagram from that client to the address that it was told, which no other name has.
 *
 * Nobody receives what is sent, so checksums are left 0. Prints one JSON object, as flood does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define NAMES_A_BATCH 32
#define FRAMES_A_NAME_MAX 3
#define FRAME_MAX 512
#define DIGITS 16
#define NAME_MAX_LEN 253
#define LABEL_MAX 63
#define PORTS 60000

#define L4 34
#define CLIENTS 0xc6120000u  /* 198.18.0.0 */
#define SERVER 0xc6336401u   /* 198.51.100.1 */
#define ADDRESSES 0x64400000u /* 100.64.0.0 */

struct frame {
	unsigned length;
	unsigned name_at, address_at; /* 0: has none */
	uint8_t bytes[FRAME_MAX];
};

static const char suffix[] = ".flood.example";
/* The name after one byte more, which in DNS is the length of its first label; its zero is the root. */
static char name_text[1 + NAME_MAX_LEN + 1], name_wire[sizeof(name_text)];
static unsigned name_len = DIGITS + sizeof(suffix) - 1;

static void die(const char *what)
{
	fprintf(stderr, "name_flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* splitmix64 (Steele, Lea, Flood 2014): a number that looks random, another for each. */
static uint64_t mix(uint64_t number)
{
	number += 0x9e3779b97f4a7c15u;
	number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9u;
	number = (number ^ number >> 27) * 0x94d049bb133111ebu;
	return number ^ number >> 31;
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static void add(struct frame *frame, const void *bytes, unsigned length)
{
	memcpy(frame->bytes + frame->length, bytes, length);
	frame->length += length;
}

static void add16(struct frame *frame, unsigned value)
{
	put16(frame->bytes + frame->length, value);
	frame->length += 2;
}

static void start_frame(struct frame *frame, const char *to, unsigned protocol)
{
	uint8_t *at = frame->bytes;

	memset(frame, 0, sizeof(*frame));
	if (sscanf(to, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", at, at + 1, at + 2, at + 3, at + 4, at + 5) != 6)
		die("bad MAC address");
	at[6] = 0x02;
	at[12] = 0x08;
	at[14] = 0x45;
	at[22] = 64;
	at[23] = (uint8_t)protocol;
	put32(at + 30, SERVER);
	frame->length = L4 + (protocol == 6 ? 20 : 8);
	if (protocol == 6) {
		at[L4 + 12] = 5 << 4;
		at[L4 + 13] = 0x18; /* PSH, ACK */
	}
}

static void end_frame(struct frame *frame)
{
	put16(frame->bytes + 16, frame->length - 14);
	if (frame->bytes[23] == 17)
		put16(frame->bytes + L4 + 4, frame->length - L4);
}

static void make_name(void)
{
	unsigned filled = name_len - (sizeof(suffix) - 1), at, label = 0;

	if (name_len > NAME_MAX_LEN || filled < DIGITS || filled % (LABEL_MAX + 1) == 0) {
		fprintf(stderr, "name_flood: no name has %u characters\n", name_len);
		exit(2);
	}
	memset(name_text, 'x', 1 + filled);
	for (at = LABEL_MAX; at < filled; at += LABEL_MAX + 1)
		name_text[1 + at] = '.';
	memcpy(name_text + 1 + filled, suffix, sizeof(suffix));
	memcpy(name_wire, name_text, sizeof(name_text));
	for (at = 1; at <= 1 + name_len; at++)
		if (at > name_len || name_text[at] == '.') {
			name_wire[label] = (char)(at - label - 1);
			label = at;
		}
}

/* RFC 8446, 4.1.2, with nothing but a server name. */
static void make_hello(struct frame *frame, const char *to)
{
	const unsigned name = name_len, extensions = 9 + name, body = 43 + extensions;

	start_frame(frame, to, 6);
	put16(frame->bytes + L4 + 2, 443);
	add(frame, "\x16\x03\x01", 3);
	add16(frame, 4 + body);
	add(frame, "\x01\0", 2);
	add16(frame, body);
	add(frame, "\x03\x03", 2);
	frame->length += 32 + 1; /* random, no session */
	add(frame, "\0\2\x13\1\1\0", 6);
	add16(frame, extensions);
	add16(frame, 0);
	add16(frame, 5 + name);
	add16(frame, 3 + name);
	add(frame, "", 1);
	add16(frame, name);
	frame->name_at = frame->length;
	add(frame, name_text + 1, name);
	end_frame(frame);
}

static void make_dns(struct frame *frame, const char *to, int is_answer)
{
	start_frame(frame, to, 17);
	put16(frame->bytes + L4 + 2, 53);
	add(frame, is_answer ? "\x12\x34\x81\x80\0\1\0\1\0\0\0" : "\x12\x34\1\0\0\1\0\0\0\0\0", 12);
	frame->name_at = frame->length + 1;
	add(frame, name_wire, 1 + name_len + 1);
	add(frame, "\0\1\0\1", 4);
	if (is_answer) {
		add(frame, "\xc0\x0c\0\1\0\1\0\0\x01\x2c\0\4", 12);
		frame->address_at = frame->length;
		frame->length += 4;
	}
	end_frame(frame);
}

static void make_datagram(struct frame *frame, const char *to)
{
	start_frame(frame, to, 17);
	put16(frame->bytes + L4 + 2, 9);
	frame->length += 18;
	frame->address_at = 30;
	end_frame(frame);
}

/* An answer goes from the server to the client. */
static void set_name(struct frame *frame, uint64_t number, int is_answer)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t name = mix(number);
	uint32_t client = CLIENTS + (uint32_t)(number / PORTS);
	unsigned port = 1024 + (unsigned)(number % PORTS);
	int i;

	put32(frame->bytes + (is_answer ? 30 : 26), client);
	put16(frame->bytes + L4 + (is_answer ? 2 : 0), port);
	if (is_answer) {
		put32(frame->bytes + 26, SERVER);
		put16(frame->bytes + L4, 53);
	}
	if (frame->name_at)
		for (i = 0; i < DIGITS; i++, name >>= 4)
			frame->bytes[frame->name_at + (unsigned)i] = (uint8_t)digits[name & 15];
	if (frame->address_at)
		put32(frame->bytes + frame->address_at, ADDRESSES + (uint32_t)number);
}

int main(int count, char **words)
{
	static const struct option known[] = {{"device", 1, 0, 'd'}, {"to", 1, 0, 't'},
					      {"kind", 1, 0, 'k'},   {"count", 1, 0, 'c'},
					      {"first", 1, 0, 'n'},  {"rate", 1, 0, 'r'},
					      {"length", 1, 0, 'l'}, {0, 0, 0, 0}};
	static struct frame frames[NAMES_A_BATCH * FRAMES_A_NAME_MAX];
	static struct mmsghdr messages[NAMES_A_BATCH * FRAMES_A_NAME_MAX];
	static struct iovec parts[NAMES_A_BATCH * FRAMES_A_NAME_MAX];
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_halen = 6};
	const char *device = "", *to = "", *kind = "";
	uint64_t names = 0, first = 0, rate = 0, at = 0, bytes = 0, packets = 0;
	unsigned a_name, i;
	double start;
	int option, fd = socket(AF_PACKET, SOCK_RAW, 0);

	while ((option = getopt_long(count, words, "", known, NULL)) >= 0) {
		switch (option) {
		case 'd': device = optarg; break;
		case 't': to = optarg; break;
		case 'k': kind = optarg; break;
		case 'c': names = strtoull(optarg, NULL, 10); break;
		case 'r': rate = strtoull(optarg, NULL, 10); break;
		case 'l': name_len = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'n': first = strtoull(optarg, NULL, 10); break;
		default: exit(2);
		}
	}
	if (fd < 0)
		die("socket");
	make_name();
	a_name = strcmp(kind, "dns") ? 1 : 3;
	where.sll_ifindex = (int)if_nametoindex(device);
	for (i = 0; i < NAMES_A_BATCH * a_name; i++) {
		if (a_name == 1)
			make_hello(&frames[i], to);
		else if (i % a_name < 2)
			make_dns(&frames[i], to, i % a_name == 1);
		else
			make_datagram(&frames[i], to);
		parts[i] = (struct iovec){frames[i].bytes, frames[i].length};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &where, .msg_namelen = sizeof(where),
						      .msg_iov = &parts[i], .msg_iovlen = 1};
	}
	start = now_s();
	while (at < names) {
		unsigned batch = names - at < NAMES_A_BATCH ? (unsigned)(names - at) : NAMES_A_BATCH;
		unsigned sent = 0;

		if (rate && (double)at > (now_s() - start) * (double)rate) {
			nanosleep(&(struct timespec){0, 1000000}, NULL);
			continue;
		}
		for (i = 0; i < batch * a_name; i++)
			set_name(&frames[i], first + at + i / a_name, a_name == 3 && i % a_name == 1);
		while (sent < batch * a_name) {
			int done = sendmmsg(fd, messages + sent, batch * a_name - sent, 0);

			if (done < 0 && errno != ENOBUFS && errno != EINTR)
				die("sendmmsg");
			for (i = 0; done > 0 && i < (unsigned)done; i++)
				bytes += frames[sent + i].length;
			sent += done > 0 ? (unsigned)done : 0;
		}
		packets += sent;
		at += batch;
	}
	printf("{\"packets\": %llu, \"bytes\": %llu, \"flows\": %llu, \"seconds\": %.3f}\n",
	       (unsigned long long)packets, (unsigned long long)bytes, (unsigned long long)names,
	       now_s() - start);
	return 0;
}
