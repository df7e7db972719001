/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends small UDP packets of many flows from AF_PACKET sockets, as fast as it can or at a rate.
 *
 *	sender --device IF --to MAC --flows N (--count N | --seconds S) [--pps N] [--cpu N] [--ipv6]
 *	       [--reply-device IF --reply-namespace FILE]
 *
 * Packets go round-robin over the flows; flow N has a source address of its own in 10.0.0.0/8 or
 * 2001:db8::/96, all else is the same. Addresses do not follow one another: no table is to profit from
 * that. With --reply-device each batch is answered from there, in that network namespace, addresses
 * and ports swapped, to an Ethernet address that nobody has. A batch is 64 packets: so soon comes the answer.
 *
 * Prints how many packets were sent from the first device, and as many are answers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define PAYLOAD_LEN 18
#define IPV4_LEN 20
#define IPV6_LEN 40
#define UDP_LEN 8
#define FRAME_MAX (ETH_HLEN + IPV6_LEN + UDP_LEN + PAYLOAD_LEN)
#define CLIENT_PORT 40000
#define SERVER_PORT 9

static const unsigned char nobody[ETH_ALEN] = {2, 0, 0, 0, 0, 0x99};

/* Where packets leave, and a batch of them; only the client's address differs between two. */
struct side {
	int fd, is_reply, is_ipv6;
	unsigned length;
	struct sockaddr_ll to;
	unsigned char frames[BATCH][FRAME_MAX];
	struct iovec parts[BATCH];
	struct mmsghdr messages[BATCH];
};

static void die(const char *what)
{
	fprintf(stderr, "sender: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void put16(unsigned char *at, unsigned value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

static void put32(unsigned char *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static void put_udp(unsigned char *udp, int is_reply)
{
	put16(udp, is_reply ? SERVER_PORT : CLIENT_PORT);
	put16(udp + 2, is_reply ? CLIENT_PORT : SERVER_PORT);
	put16(udp + 4, UDP_LEN + PAYLOAD_LEN);
	memset(udp + UDP_LEN, 'x', PAYLOAD_LEN);
}

static void put_ipv4(unsigned char *ip, int is_reply)
{
	ip[0] = 0x45;
	put16(ip + 2, IPV4_LEN + UDP_LEN + PAYLOAD_LEN);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	put32(ip + (is_reply ? 12 : 16), 0xc6336401); /* 198.51.100.1 */
	put_udp(ip + IPV4_LEN, is_reply);
}

static void put_ipv6(unsigned char *ip, int is_reply)
{
	ip[0] = 0x60;
	put16(ip + 4, UDP_LEN + PAYLOAD_LEN);
	ip[6] = IPPROTO_UDP;
	ip[7] = 64;
	put32(ip + 8, 0x20010db8);
	put32(ip + 24, 0x20010db8);
	ip[is_reply ? 23 : 39] = 1;
	ip[is_reply ? 12 : 28] = 1;
	put_udp(ip + IPV6_LEN, is_reply);
}

/* Every number below 2^24 becomes another one, with nothing left of their order. */
static uint32_t scatter(uint32_t flow)
{
	flow = flow * 0x9e3779b1u & 0xffffff;
	flow ^= flow >> 11;
	flow = flow * 0x85ebca6bu & 0xffffff;
	return flow ^ flow >> 13;
}

static void set_flow(const struct side *side, unsigned char *frame, uint32_t flow)
{
	unsigned char *ip = frame + ETH_HLEN;
	uint32_t sum = 0;
	int i;

	if (side->is_ipv6) {
		put32(ip + (side->is_reply ? 36 : 20), scatter(flow));
		return;
	}
	put32(ip + (side->is_reply ? 16 : 12), 0x0a000000 + scatter(flow));
	put16(ip + 10, 0);
	for (i = 0; i < IPV4_LEN; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
}

static struct side *open_side(const char *device, const unsigned char *to, int is_reply,
			      int is_ipv6)
{
	struct side *side = calloc(1, sizeof(*side));
	int i;

	if (!side)
		die("calloc");
	side->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (side->fd < 0)
		die("socket");
	side->is_reply = is_reply;
	side->is_ipv6 = is_ipv6;
	side->length = ETH_HLEN + (is_ipv6 ? IPV6_LEN : IPV4_LEN) + UDP_LEN + PAYLOAD_LEN;
	side->to = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_halen = ETH_ALEN};
	side->to.sll_ifindex = (int)if_nametoindex(device);
	if (!side->to.sll_ifindex)
		die(device);
	for (i = 0; i < BATCH; i++) {
		unsigned char *frame = side->frames[i];

		memcpy(frame, to, ETH_ALEN);
		frame[ETH_ALEN] = 2;
		put16(frame + 2 * ETH_ALEN, is_ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
		if (is_ipv6)
			put_ipv6(frame + ETH_HLEN, is_reply);
		else
			put_ipv4(frame + ETH_HLEN, is_reply);
		side->parts[i] = (struct iovec){frame, side->length};
		side->messages[i].msg_hdr = (struct msghdr){.msg_name = &side->to,
							    .msg_namelen = sizeof(side->to),
							    .msg_iov = &side->parts[i],
							    .msg_iovlen = 1};
	}
	return side;
}

static void send_batch(struct side *side, uint64_t first, unsigned count, uint64_t flows)
{
	unsigned i, sent = 0;

	for (i = 0; i < count; i++)
		set_flow(side, side->frames[i], (uint32_t)((first + i) % flows));
	while (sent < count) {
		int done = sendmmsg(side->fd, side->messages + sent, count - sent, 0);

		if (done > 0)
			sent += (unsigned)done;
		else if (errno != ENOBUFS && errno != EINTR)
			die("sendmmsg");
	}
}

/* Sockets stay in the namespace in which they were made. */
static void enter(const char *namespace)
{
	int fd = open(namespace, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(namespace);
	close(fd);
}

/* At a rate, waits until the next packet is due. */
static void pace(double began_s, uint64_t sent, uint64_t pps)
{
	double wait_s = pps ? began_s + (double)sent / (double)pps - now_s() : 0;

	if (wait_s > 0)
		nanosleep(
			&(struct timespec){(time_t)wait_s, (long)((wait_s - (time_t)wait_s) * 1e9)},
			NULL);
}

/* Every other process that gets this CPU leaves its caches cold: let it be seldom. */
static void keep_cpu(int cpu)
{
	cpu_set_t set;

	if (setpriority(PRIO_PROCESS, 0, -20))
		die("setpriority");
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

int main(int count, char **words)
{
	static const struct option known[] = {
		{"device", 1, 0, 'd'},
		{"to", 1, 0, 't'},
		{"flows", 1, 0, 'f'},
		{"count", 1, 0, 'c'},
		{"seconds", 1, 0, 's'},
		{"cpu", 1, 0, 'C'},
		{"ipv6", 0, 0, '6'},
		{"reply-device", 1, 0, 'r'},
		{"reply-namespace", 1, 0, 'n'},
		{"pps", 1, 0, 'p'},
		{0, 0, 0, 0},
	};
	const char *device = NULL, *reply_device = NULL, *reply_namespace = NULL;
	unsigned char to[ETH_ALEN] = {0};
	uint64_t flows = 1, wanted = 0, sent = 0, pps = 0;
	double seconds = 0, began;
	int is_ipv6 = 0, option;
	struct side *forward, *reply = NULL;

	while ((option = getopt_long(count, words, "", known, NULL)) != -1) {
		switch (option) {
		case 'd':
			device = optarg;
			break;
		case 'r':
			reply_device = optarg;
			break;
		case 'n':
			reply_namespace = optarg;
			break;
		case 'p':
			pps = strtoull(optarg, NULL, 10);
			break;
		case 't':
			if (sscanf(optarg, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &to[0], &to[1], &to[2],
				   &to[3], &to[4], &to[5]) != 6)
				die(optarg);
			break;
		case 'f':
			flows = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			wanted = strtoull(optarg, NULL, 10);
			break;
		case 's':
			seconds = strtod(optarg, NULL);
			break;
		case 'C':
			keep_cpu(atoi(optarg));
			break;
		case '6':
			is_ipv6 = 1;
			break;
		default:
			return 2;
		}
	}
	if (!device || !flows || (!wanted && seconds <= 0) || !reply_device != !reply_namespace) {
		fputs("sender: how to call it stands at the top of sender.c\n", stderr);
		return 2;
	}
	forward = open_side(device, to, 0, is_ipv6);
	if (reply_device) {
		enter(reply_namespace);
		reply = open_side(reply_device, nobody, 1, is_ipv6);
	}
	began = now_s();
	while (wanted ? sent < wanted : now_s() < began + seconds) {
		unsigned batch = BATCH;

		if (wanted && wanted - sent < BATCH)
			batch = (unsigned)(wanted - sent);
		send_batch(forward, sent, batch, flows);
		if (reply)
			send_batch(reply, sent, batch, flows);
		sent += batch;
		pace(began, sent, pps);
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}
