/* SPDX-License-Identifier: GPL-2.0 */
/*
 * From the bytes of a packet to its flow key. Touches no map.
 *
 * Return convention, everywhere in this folder: a function that looks for something returns it, or 1,
 * when it found it, and 0 when it did not.
 *
 * A packet that ends early is parsed as far as it goes: what cannot be read stays 0.
 */
#ifndef AYAFLOW_PARSING_H
#define AYAFLOW_PARSING_H

#include "flow_events.h"

#define ETHERNET_HEADER_LEN 14
#define ETHERTYPE_OFFSET 12
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_QINQ_OLD 0x9100
#define ETHERTYPE_PPPOE 0x8864
#define ETHERTYPE_MPLS 0x8847
#define VLAN_TAG_LEN 4
#define VLAN_TAGS_MAX 3
#define MPLS_LABELS_MAX 4
#define MPLS_LABEL_LEN 4
#define MPLS_BOTTOM_OF_STACK 0x100
#define PPPOE_HEADER_LEN 8
#define PPP_IPV4 0x0021
#define PPP_IPV6 0x0057

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_IPV4 4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_DCCP 33
#define PROTOCOL_IPV6 41
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_GRE 47
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_DESTINATION 60
#define PROTOCOL_SCTP 132
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_UDPLITE 136
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_OFFSET_MASK 0xfff8
#define IPV6_HEADERS_MAX 6 /* more than that and the last one read is the protocol */
#define IPV6_OPTION_JUMBO 0xc2
#define JUMBO_HEADER_LEN 8

#define TCP_HEADER_LEN_MIN 20
#define TCP_SEQUENCE_OFFSET 4
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define UDP_HEADER_LEN 8
#define SCTP_HEADER_LEN 12

#define HEADERS_LEN_MAX 256 /* as much is made linear where need be */
#define PARSE_OFFSET_MASK 0x3fff /* more than all headers together that are parsed here can take */

#define __always_inline inline __attribute__((always_inline))

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_len;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__sum16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6_header {
	__u8 version_class;
	__u8 flow_label[3];
	__be16 payload_len;
	__u8 next_header;
	__u8 hop_limit;
	__u64 source[2];
	__u64 destination[2];
};

/* The common start of all IPv6 extension headers. */
struct ipv6_extension {
	__u8 next_header;
	__u8 len;
	union {
		__be16 fragment; /* of the fragment header */
		__u8 option; /* of the hop-by-hop header: its first option */
	};
};

/* The part of a TCP header that is read. The ports come first in UDP, SCTP and DCCP too. */
struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 data_offset;
	__u8 flags;
	__be16 window;
};

struct packet {
	struct flow_key key;
	__u8 family; /* 4 or 6; 0: no IP header was found */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 jumbo_len; /* of a jumbo option header, which no segment on the wire carries */
	__u32 l3_offset; /* where the IP header begins */
	__u32 ip_len; /* as IP states it, with its own header; 0 where it states none */
	__u32 l4_offset; /* where the header after the IP headers begins */
	__u32 headers_len; /* all headers: what segmentation repeats in front of each segment */
};

/* The part of a packet that can be read directly. */
struct frame {
	void *data;
	void *data_end;
	__u32 zero; /* which the verifier does not know: see forget() */
};

static __always_inline struct frame linear_part(struct __sk_buff *skb)
{
	__u32 high_bit = skb->len >> 31;
	struct frame frame = {
		.data = (void *)(long)skb->data,
		.data_end = (void *)(long)skb->data_end,
	};

	asm volatile("" : "+r"(high_bit)); /* or the compiler makes a branch of it */
	frame.zero = high_bit * PARSE_OFFSET_MASK & PARSE_OFFSET_MASK;
	return frame;
}

/*
 * Headers nearly always lie in the linear part. Where they do not, the kernel moves them there, as the
 * next layer would have it do: nobody who handles the packet later can tell.
 */
static __always_inline struct frame frame_of(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < HEADERS_LEN_MAX ? skb->len : HEADERS_LEN_MAX;

	if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, wanted);
	return linear_part(skb);
}

/*
 * The same offset, as one that could be any. The verifier walks each path once for every constant
 * that it knows an offset to be, and its paths multiply; what it does not know it walks once.
 */
static __always_inline __u32 forget(const struct frame *frame, __u32 offset)
{
	/*
	 * Not by xor: before Linux 6.10 the verifier has no bounds for one with what it does not know.
	 * Masked last, so that all are bounded alike.
	 */
	return (offset + frame->zero) & PARSE_OFFSET_MASK;
}

/* The header of *len* bytes at *offset*, or 0 where the packet ends before it does. */
static __always_inline void *header_at(const struct frame *frame, __u32 offset, const __u32 len)
{
	void *header = frame->data + offset;

	if (header + len > frame->data_end)
		header = 0;
	/* Or the compiler may compare again where 0 is looked for, and the verifier loses its way. */
	asm volatile("" : "+r"(header));
	return header;
}

static __always_inline void parse_transport(const struct frame *frame, struct packet *packet)
{
	__u32 offset = packet->l4_offset;
	const struct tcp_header *tcp;
	const __u32 *ports;

	packet->headers_len = offset;
	switch (packet->protocol) {
	case PROTOCOL_TCP:
		tcp = header_at(frame, offset, sizeof(*tcp));
		if (tcp) {
			packet->tcp_flags = tcp->flags;
			packet->headers_len += (tcp->data_offset >> 4) * 4;
		}
		break;
	case PROTOCOL_UDP:
	case PROTOCOL_UDPLITE:
		packet->headers_len += UDP_HEADER_LEN;
		break;
	case PROTOCOL_SCTP:
		packet->headers_len += SCTP_HEADER_LEN;
		break;
	case PROTOCOL_DCCP:
		break;
	default:
		return;
	}
	ports = header_at(frame, offset, sizeof(*ports));
	if (ports)
		packet->key.ports = *ports;
}

static __always_inline int parse_ipv4(const struct frame *frame, __u32 offset,
				      struct packet *packet)
{
	const struct ipv4_header *ip = header_at(frame, offset, sizeof(*ip));

	if (!ip || ip->version_ihl < 0x45 || ip->version_ihl > 0x4f)
		return 0;
	packet->family = 4;
	packet->key.source[0] = ip->source;
	packet->key.destination[0] = ip->destination;
	packet->ip_len = bpf_ntohs(ip->total_len);
	packet->protocol = ip->protocol;
	packet->l4_offset = offset + (ip->version_ihl & 0xf) * 4;
	packet->headers_len = packet->l4_offset;
	if (!(ip->fragment & bpf_htons(IPV4_OFFSET_MASK)))
		parse_transport(frame, packet);
	return 1;
}

static __always_inline int parse_ipv6(const struct frame *frame, __u32 offset,
				      struct packet *packet)
{
	const struct ipv6_header *ip = header_at(frame, offset, sizeof(*ip));
	const struct ipv6_extension *extension;
	__u8 protocol;
	int i;

	if (!ip || ip->version_class >> 4 != 6)
		return 0;
	packet->family = 6;
	packet->key.source[0] = ip->source[0];
	packet->key.source[1] = ip->source[1];
	packet->key.destination[0] = ip->destination[0];
	packet->key.destination[1] = ip->destination[1];
	if (ip->payload_len)
		packet->ip_len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	protocol = ip->next_header;
	offset += sizeof(*ip);
#pragma clang loop unroll(disable)
	for (i = 0; i < IPV6_HEADERS_MAX; i++) {
		__u32 len;

		packet->protocol = protocol;
		packet->l4_offset = offset;
		packet->headers_len = offset;
		switch (protocol) {
		case PROTOCOL_HOP_BY_HOP:
		case PROTOCOL_ROUTING:
		case PROTOCOL_FRAGMENT:
		case PROTOCOL_AUTHENTICATION:
		case PROTOCOL_DESTINATION:
		case PROTOCOL_MOBILITY:
		case PROTOCOL_HIP:
		case PROTOCOL_SHIM6:
			break;
		default:
			parse_transport(frame, packet);
			return 1;
		}
		extension = header_at(frame, offset, sizeof(*extension));
		if (!extension)
			return 1;
		len = (extension->len + 1) * 8;
		if (protocol == PROTOCOL_FRAGMENT) {
			len = 8;
			if (extension->fragment & bpf_htons(IPV6_OFFSET_MASK)) {
				packet->protocol = extension->next_header;
				packet->l4_offset = offset + len;
				return 1;
			}
		} else if (protocol == PROTOCOL_AUTHENTICATION) {
			len = (extension->len + 2) * 4;
		} else if (protocol == PROTOCOL_HOP_BY_HOP && extension->len == 0 &&
			   extension->option == IPV6_OPTION_JUMBO) {
			packet->jumbo_len = JUMBO_HEADER_LEN;
		}
		protocol = extension->next_header;
		offset = forget(frame, offset + len);
	}
	return 1;
}

static __always_inline int parse_ip(const struct frame *frame, __u32 offset, struct packet *packet)
{
	const __u8 *version = header_at(frame, offset, 1);

	if (!version)
		return 0;
	packet->l3_offset = offset;
	if (*version >> 4 == 4)
		return parse_ipv4(frame, offset, packet);
	return parse_ipv6(frame, offset, packet);
}

/* Finds where the IP header begins behind Ethernet, its VLAN tags, PPPoE and MPLS. */
static __always_inline int find_ip(const struct frame *frame, __u32 *ip_offset)
{
	__u32 offset = ETHERNET_HEADER_LEN;
	const __be16 *type = header_at(frame, ETHERTYPE_OFFSET, sizeof(*type));
	const __be32 *label;
	int i;

	if (!type)
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < VLAN_TAGS_MAX; i++) {
		if (*type != bpf_htons(ETHERTYPE_VLAN) && *type != bpf_htons(ETHERTYPE_QINQ) &&
		    *type != bpf_htons(ETHERTYPE_QINQ_OLD))
			break;
		type = header_at(frame, offset + VLAN_TAG_LEN - sizeof(*type), sizeof(*type));
		if (!type)
			return 0;
		offset += VLAN_TAG_LEN;
	}
	*ip_offset = offset;
	if (*type == bpf_htons(ETHERTYPE_IPV4) || *type == bpf_htons(ETHERTYPE_IPV6))
		return 1;

	offset = forget(frame, offset);
	if (*type == bpf_htons(ETHERTYPE_PPPOE)) {
		*ip_offset = offset + PPPOE_HEADER_LEN;
		type = header_at(frame, offset + PPPOE_HEADER_LEN - sizeof(*type), sizeof(*type));
		return type && (*type == bpf_htons(PPP_IPV4) || *type == bpf_htons(PPP_IPV6));
	}
	if (*type != bpf_htons(ETHERTYPE_MPLS))
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < MPLS_LABELS_MAX; i++) {
		label = header_at(frame, offset, sizeof(*label));
		if (!label)
			return 0;
		offset += MPLS_LABEL_LEN;
		*ip_offset = offset;
		if (*label & bpf_htonl(MPLS_BOTTOM_OF_STACK))
			return 1;
	}
	return 0;
}

/* As forget(), for what the verifier knows to be a constant on some paths: they become one path. */
static __always_inline void forget_packet(const struct frame *frame, struct packet *packet)
{
	packet->key.source[1] ^= frame->zero;
	packet->key.destination[1] ^= frame->zero;
	packet->key.ports ^= frame->zero;
	packet->family ^= frame->zero;
	packet->l3_offset = forget(frame, packet->l3_offset);
	packet->l4_offset = forget(frame, packet->l4_offset);
	packet->headers_len = forget(frame, packet->headers_len);
}

/*
 * Fills the key, family and protocol of a packet as nearly all are, and finds no other: TCP or UDP over
 * IPv4 without options over Ethernet, with all that is read here in the linear part, and of TCP no SYN,
 * FIN or RST. So short that the values stay in registers.
 */
static __always_inline int parse_plain(struct __sk_buff *skb, struct packet *packet)
{
	const void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	const __be16 *type = data + ETHERTYPE_OFFSET;
	const struct ipv4_header *ip = data + ETHERNET_HEADER_LEN;
	const struct tcp_header *tcp = (void *)(ip + 1);

	if ((void *)tcp + UDP_HEADER_LEN > data_end)
		return 0;
	if (*type != bpf_htons(ETHERTYPE_IPV4) || ip->version_ihl != 0x45 ||
	    ip->fragment & bpf_htons(IPV4_OFFSET_MASK))
		return 0;
	packet->protocol = ip->protocol;
	if (packet->protocol == PROTOCOL_TCP) {
		if ((void *)(tcp + 1) > data_end || tcp->flags & (TCP_SYN | TCP_FIN | TCP_RST))
			return 0;
	} else if (packet->protocol != PROTOCOL_UDP) {
		return 0;
	}
	packet->family = 4;
	packet->key.source[0] = ip->source;
	packet->key.destination[0] = ip->destination;
	packet->key.ports = *(const __u32 *)tcp;
	return 1;
}

/* Fills *packet*, which must be zero, and says whether it is an IP packet. */
static __always_inline int parse_packet(const struct frame *frame, __u8 link_type,
					struct packet *packet)
{
	__u32 offset = 0;

	/* It stays in memory: in registers, each path would carry the zeroes of what it does not fill. */
	asm volatile("" : : "r"(packet) : "memory");
	if (link_type == LINK_OTHER)
		return 0;
	if (link_type == LINK_ETHERNET && !find_ip(frame, &offset))
		return 0;
	if (!parse_ip(frame, forget(frame, offset), packet))
		return 0;
	forget_packet(frame, packet);
	return 1;
}

#endif
