/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which payloads can teach a name: DNS, the beginning of TLS and of HTTP/1, QUIC Initials. Touches no
 * map. Bytes are read with the helper, since a payload often lies outside of the linear part.
 */
#ifndef AYAFLOW_PAYLOAD_H
#define AYAFLOW_PAYLOAD_H

#include "parsing.h"

#define PORT_DNS 53

#define TLS_HANDSHAKE 22
#define TLS_MAJOR_VERSION 3
#define TLS_CLIENT_HELLO 1
#define TLS_RECORD_HEADER_LEN 5
#define TLS_HANDSHAKE_HEADER_LEN 4
#define CLIENT_HELLO_MAX 22528 /* 16 KB, and the headers of 1,024 records */
#define HTTP_HEAD_MAX 8192

#define QUIC_TYPE_MASK 0xb0 /* long header and type; the fixed bit may be cleared, RFC 9287 */
#define QUIC_VERSION_1 0x00000001
#define QUIC_VERSION_2 0x6b3343cf
#define QUIC_VERSION_2_DRAFT 0x709a50c4
#define QUIC_DRAFTS 0xff0000 /* the upper three bytes */
#define QUIC_GOOGLE 0x543035 /* T050, T051 */
#define QUIC_MVFST 0xface /* the upper two bytes */
#define QUIC_RESERVED_MASK 0x0f0f0f0f
#define QUIC_RESERVED 0x0a0a0a0a /* RFC 9000, 15 */
#define QUIC_INITIAL_1 0x80
#define QUIC_INITIAL_2 0x90 /* RFC 9369, 3.2 */

/*
 * The first segment of a connection may come after the second. So of who opened it, this many packets
 * are of interest whatever they begin with, until one begins a message.
 */
#define UNKNOWN_PACKETS_MAX 3

struct payload {
	__u32 offset;
	__u32 len;
};

#define PAYLOAD_START_MAX 16 /* bytes, more than is looked at, and a power of two */

/* The beginning of a payload, as much as it takes to tell what it is. */
struct payload_start {
	__u8 type; /* TLS */
	__u8 major;
	__u8 minor;
	__u8 record_len[2];
	__u8 handshake;
	__u8 handshake_len[3];
};

/*
 * Where the payload is. Ethernet pads short frames, so the length that IP states counts, unless it is
 * left 0, as offloads do.
 */
static __always_inline struct payload find_payload(struct __sk_buff *skb,
						   const struct packet *packet)
{
	struct payload none = {};
	struct payload payload = {.offset = packet->headers_len};
	__u32 end = skb->len;
	__u32 header_len;

	if (!skb->gso_size && packet->ip_len && packet->l3_offset + packet->ip_len < end)
		end = packet->l3_offset + packet->ip_len;
	header_len = packet->headers_len - packet->l4_offset; /* none in later fragments */
	if (header_len < (packet->protocol == PROTOCOL_TCP ? TCP_HEADER_LEN_MIN : UDP_HEADER_LEN) ||
	    end <= payload.offset)
		return none;
	payload.len = end - payload.offset;
	return payload;
}

static __always_inline int is_tcp_or_udp(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP;
}

static __always_inline int is_dns(const struct packet *packet)
{
	return is_tcp_or_udp(packet) && (packet->key.ports >> 16 == bpf_htons(PORT_DNS) ||
					 (packet->key.ports & 0xffff) == bpf_htons(PORT_DNS));
}

/*
 * How much of a TLS ClientHello that begins here is still to come, with the headers of its records. Where
 * the first segment or the first record holds too little to tell, as much as it may be.
 */
static __always_inline __u32 client_hello_len(const struct payload_start *start, __u32 payload_len)
{
	__u32 record_len = start->record_len[0] << 8 | start->record_len[1];
	__u32 len = start->handshake_len[0] << 16 | start->handshake_len[1] << 8 |
		    start->handshake_len[2];

	if (start->type == TLS_HANDSHAKE && payload_len < sizeof(*start))
		return CLIENT_HELLO_MAX;
	if (start->type != TLS_HANDSHAKE || start->major != TLS_MAJOR_VERSION ||
	    start->handshake != TLS_CLIENT_HELLO || record_len == 0)
		return 0;
	len += TLS_HANDSHAKE_HEADER_LEN;
	return len <= record_len ? TLS_RECORD_HEADER_LEN + len : CLIENT_HELLO_MAX;
}

/* A method is upper-case letters; the parser looks at what it really says. */
static __always_inline int may_be_http(const struct payload_start *start)
{
	if (start->type == 'H' && start->major == 'T' && start->minor == 'T')
		return 0; /* a response */
	return start->type - 'A' < 26U && start->major - 'A' < 26U && start->minor - 'A' < 26U;
}

static __always_inline int is_quic_initial(const struct payload_start *start)
{
	__u32 version = start->major << 24 | start->minor << 16 | start->record_len[0] << 8 |
			start->record_len[1];

	if (version == QUIC_VERSION_2 || version == QUIC_VERSION_2_DRAFT)
		return (start->type & QUIC_TYPE_MASK) == QUIC_INITIAL_2;
	if ((start->type & QUIC_TYPE_MASK) != QUIC_INITIAL_1)
		return 0;
	return version == QUIC_VERSION_1 || version >> 8 == QUIC_DRAFTS ||
	       version >> 8 == QUIC_GOOGLE || version >> 16 == QUIC_MVFST ||
	       (version & QUIC_RESERVED_MASK) == QUIC_RESERVED;
}

/*
 * How much of this payload is worth sending, and what of the flow's inspection is left after it.
 * *opener*: whether the payload is from who opened the connection.
 */
static __always_inline __u32 wanted_of(const struct payload_start *start, __u8 protocol,
				       __u32 payload_len, int opener, __u32 *inspection)
{
	__u32 packets = (*inspection & 0xffff) + 1;
	__u32 wanted = *inspection >> INSPECTION_WANTED_SHIFT;
	__u32 begun = 0;
	__u32 taken;

	if (protocol == PROTOCOL_UDP) {
		*inspection = packets;
		return is_quic_initial(start) ? payload_len : 0;
	}
	begun = client_hello_len(start, payload_len);
	if (!begun && may_be_http(start))
		begun = HTTP_HEAD_MAX;
	if (begun && packets < UNKNOWN_PACKETS_MAX)
		packets = UNKNOWN_PACKETS_MAX; /* what follows is known */
	if (begun > wanted)
		wanted = begun;
	taken = payload_len < wanted ? payload_len : wanted;
	if (!wanted && opener && packets <= UNKNOWN_PACKETS_MAX)
		taken = payload_len < HTTP_HEAD_MAX ? payload_len : HTTP_HEAD_MAX;
	else
		wanted -= taken;
	if (packets >= INSPECTED_PACKETS_MAX) {
		packets = INSPECTED_PACKETS_MAX;
		wanted = 0;
	}
	*inspection = wanted << INSPECTION_WANTED_SHIFT | packets;
	return taken;
}

#endif
