/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends IPv4 packets of many flows from an AF_PACKET socket, as fast as it can or at a rate.
 *
 *	flood --device IF --to MAC [--proto udp|tcp] [--flows N | --repeat N] [--count N]
 *	      [--seconds S] [--pps N] [--payload BYTES] [--source IP] [--destination IP] [--first N]
 *
 * With --flows the packets go round-robin over as many flows. Without, every flow has --repeat packets,
 * one after the other, and never comes again; over TCP each is then SYN, data, ..., RST. Flow N has source
 * port 1024 + N % 60000 and source address --source + N / 60000; --first is the number of the first.
 *
 * Prints one JSON object: packets, bytes (with the Ethernet header), flows, seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64
#define FRAME_MAX 2048
#define PORTS 60000

struct options {
	const char *device, *to;
	int tcp;
	uint64_t flows, repeat, count, pps, first;
	double seconds;
	unsigned payload;
	uint32_t source, destination;
};

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static uint32_t ipv4(const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		die("bad address");
	return ntohl(address.s_addr);
}

static void parse_options(int count, char **words, struct options *options)
{
	static const struct option known[] = {
		{"device", 1, 0, 'd'},  {"to", 1, 0, 't'},      {"proto", 1, 0, 'P'},
		{"flows", 1, 0, 'f'},   {"repeat", 1, 0, 'r'},  {"count", 1, 0, 'c'},
		{"seconds", 1, 0, 's'}, {"pps", 1, 0, 'p'},     {"payload", 1, 0, 'l'},
		{"source", 1, 0, 'S'},  {"destination", 1, 0, 'D'}, {"first", 1, 0, 'n'},
		{0, 0, 0, 0},
	};
	int option;

	while ((option = getopt_long(count, words, "", known, NULL)) >= 0) {
		switch (option) {
		case 'd': options->device = optarg; break;
		case 't': options->to = optarg; break;
		case 'P': options->tcp = !strcmp(optarg, "tcp"); break;
		case 'f': options->flows = strtoull(optarg, NULL, 10); break;
		case 'r': options->repeat = strtoull(optarg, NULL, 10); break;
		case 'c': options->count = strtoull(optarg, NULL, 10); break;
		case 's': options->seconds = strtod(optarg, NULL); break;
		case 'p': options->pps = strtoull(optarg, NULL, 10); break;
		case 'l': options->payload = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'S': options->source = ipv4(optarg); break;
		case 'D': options->destination = ipv4(optarg); break;
		case 'n': options->first = strtoull(optarg, NULL, 10); break;
		default: exit(2);
		}
	}
	if (!options->device || !options->to || !(options->count || options->seconds > 0)) {
		fprintf(stderr, "flood: --device, --to and --count or --seconds are needed\n");
		exit(2);
	}
}

/* Of 20 bytes, the length of an IPv4 header and of a TCP header. */
static uint16_t checksum(const uint8_t *header, uint32_t sum)
{
	int i;

	for (i = 0; i < 20; i += 2)
		sum += (uint32_t)header[i] << 8 | header[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Everything but the flow: its source address and port, the TCP flags, the checksum. */
static unsigned make_template(const struct options *options, int fd, uint8_t *frame)
{
	unsigned header = options->tcp ? 20 : 8;
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64};
	struct ifreq request = {0};
	uint16_t port = htons(9), length = htons((uint16_t)(8 + options->payload));

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", options->device);
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		die(options->device);
	if (sscanf(options->to, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", frame, frame + 1, frame + 2,
		   frame + 3, frame + 4, frame + 5) != 6)
		die("bad MAC address");
	memcpy(frame + 6, request.ifr_hwaddr.sa_data, 6);
	frame[12] = 0x08;
	ip.protocol = options->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	ip.tot_len = htons((uint16_t)(20 + header + options->payload));
	ip.daddr = htonl(options->destination);
	memcpy(frame + 14, &ip, sizeof(ip));
	memcpy(frame + 36, &port, 2);
	if (options->tcp)
		frame[46] = 5 << 4;
	else
		memcpy(frame + 38, &length, 2); /* checksum 0: none, as IPv4 allows */
	return 34 + header + options->payload;
}

static void set_flow(const struct options *options, uint8_t *frame, uint64_t packet)
{
	uint64_t flow = options->first +
			(options->flows ? packet % options->flows : packet / options->repeat);
	uint64_t nth = packet % options->repeat;
	uint32_t source = htonl(options->source + (uint32_t)(flow / PORTS));
	uint16_t port = htons((uint16_t)(1024 + flow % PORTS)), sum;
	uint32_t pseudo;
	int i;

	memcpy(frame + 26, &source, 4);
	memcpy(frame + 34, &port, 2);
	memset(frame + 24, 0, 2);
	sum = checksum(frame + 14, 0);
	memcpy(frame + 24, &sum, 2);
	if (!options->tcp)
		return;
	/* SYN, RST, ACK */
	frame[47] = nth == 0 ? 0x02 : nth == options->repeat - 1 ? 0x04 : 0x10;
	memset(frame + 50, 0, 2);
	/* The payload is zero, so what counts are the header and the pseudo header (RFC 9293, 3.1). */
	pseudo = IPPROTO_TCP + 20 + options->payload;
	for (i = 26; i < 34; i += 2)
		pseudo += (uint32_t)frame[i] << 8 | frame[i + 1];
	sum = checksum(frame + 34, pseudo);
	memcpy(frame + 50, &sum, 2);
}

/* How many packets are due now: all that fit into a batch, or what the rate allows. */
static unsigned due(const struct options *options, uint64_t sent, double start)
{
	uint64_t want = BATCH, allowed;

	if (options->count && want > options->count - sent)
		want = options->count - sent;
	if (!options->pps)
		return (unsigned)want;
	allowed = (uint64_t)((now_s() - start) * (double)options->pps) + 1;
	if (allowed <= sent) {
		nanosleep(&(struct timespec){0, 500000}, NULL);
		return 0;
	}
	return (unsigned)(want < allowed - sent ? want : allowed - sent);
}

int main(int count, char **words)
{
	static uint8_t frames[BATCH][FRAME_MAX];
	struct options options = {.flows = 0, .repeat = 1, .payload = 18};
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
	struct mmsghdr messages[BATCH] = {0};
	struct iovec parts[BATCH];
	uint64_t sent = 0;
	unsigned i, length = 0;
	double start;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	options.source = ipv4("198.18.0.0");
	options.destination = ipv4("198.51.100.1");
	parse_options(count, words, &options);
	if (fd < 0)
		die("socket");
	to.sll_ifindex = (int)if_nametoindex(options.device);
	for (i = 0; i < BATCH; i++) {
		length = make_template(&options, fd, frames[i]);
		parts[i] = (struct iovec){frames[i], length};
		messages[i].msg_hdr = (struct msghdr){
			.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &parts[i], .msg_iovlen = 1};
	}
	start = now_s();
	while ((!options.count || sent < options.count) &&
	       (options.seconds <= 0 || now_s() < start + options.seconds)) {
		unsigned want = due(&options, sent, start);
		int done;

		for (i = 0; i < want; i++)
			set_flow(&options, frames[i], sent + i);
		done = want ? sendmmsg(fd, messages, want, 0) : 0;
		if (done > 0)
			sent += (uint64_t)done;
		else if (done < 0 && errno != ENOBUFS && errno != EINTR)
			die("sendmmsg");
	}
	printf("{\"packets\": %llu, \"bytes\": %llu, \"flows\": %llu, \"seconds\": %.3f}\n",
	       (unsigned long long)sent, (unsigned long long)(sent * length),
	       (unsigned long long)(options.flows ? options.flows :
						    (sent + options.repeat - 1) / options.repeat),
	       now_s() - start);
	return 0;
}
