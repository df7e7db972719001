/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a packet is on the wire. A super-packet becomes many packets there, and each repeats its headers;
 * in a tunnel those of the packet inside it, too. Touches no map.
 */
#ifndef AYAFLOW_WIRE_H
#define AYAFLOW_WIRE_H

#include "parsing.h"

#define ETHERTYPE_TRANSPARENT_BRIDGING 0x6558
#define VXLAN_HEADER_LEN 8
#define VXLAN_FLAGS 0x08
#define GENEVE_HEADER_LEN 8
#define GRE_HEADER_LEN 4

/* One packet, or the packets that a super-packet becomes on the wire. */
struct wire_counts {
	__u64 packets;
	__u64 bytes;
};

/* The common shape of GRE (its first four bytes), VXLAN and Geneve headers. */
struct tunnel_header {
	__u8 flags;
	__u8 more_flags;
	__be16 protocol;
	__u8 network[3];
	__u8 reserved;
};

/* Where the headers of a packet inside a tunnel end. IPv6 extension headers are not expected there. */
static __always_inline __u32 inner_headers_len(const struct frame *frame, __u32 offset)
{
	const struct ipv4_header *ipv4 = header_at(frame, offset, sizeof(*ipv4));
	const struct ipv6_header *ipv6;
	const struct tcp_header *tcp;
	__u8 protocol;

	if (!ipv4)
		return 0;
	if (ipv4->version_ihl >> 4 == 4) {
		protocol = ipv4->protocol;
		offset += (ipv4->version_ihl & 0xf) * 4;
	} else {
		ipv6 = header_at(frame, offset, sizeof(*ipv6));
		if (!ipv6 || ipv6->version_class >> 4 != 6)
			return 0;
		protocol = ipv6->next_header;
		offset += sizeof(*ipv6);
	}
	if (protocol == PROTOCOL_UDP)
		return offset + UDP_HEADER_LEN;
	if (protocol != PROTOCOL_TCP)
		return 0;
	offset = forget(frame, offset);
	tcp = header_at(frame, offset, sizeof(*tcp));
	return tcp ? offset + (tcp->data_offset >> 4) * 4 : 0;
}

/*
 * Where the headers of a tunnelled super-packet end: segmentation repeats the inner ones too. One
 * level of IP in IP, GRE, VXLAN or Geneve; else 0. VXLAN and Geneve are known by their header and what
 * follows it, since their ports differ between networks.
 */
static __always_inline __u32 tunnel_headers_len(const struct frame *frame,
						const struct packet *outer)
{
	__u32 offset = forget(frame, outer->l4_offset);
	const struct tunnel_header *tunnel;
	const __be16 *type;
	int bridged = 0;

	if (outer->protocol == PROTOCOL_UDP || outer->protocol == PROTOCOL_GRE) {
		if (outer->protocol == PROTOCOL_UDP)
			offset += UDP_HEADER_LEN;
		tunnel = header_at(frame, offset, sizeof(*tunnel));
		if (!tunnel)
			return 0;
		bridged = tunnel->protocol == bpf_htons(ETHERTYPE_TRANSPARENT_BRIDGING);
		if (outer->protocol == PROTOCOL_GRE) {
			/* RFC 2890: checksum, key and sequence number take four bytes each. */
			offset += GRE_HEADER_LEN + (tunnel->flags >> 7) * 4 +
				  (tunnel->flags >> 5 & 1) * 4 + (tunnel->flags >> 4 & 1) * 4;
		} else if (tunnel->flags == VXLAN_FLAGS && !tunnel->more_flags &&
			   !tunnel->protocol && !tunnel->reserved) {
			offset += VXLAN_HEADER_LEN; /* RFC 7348, 5 */
			bridged = 1;
		} else if (tunnel->flags >> 6 == 0 && bridged && !tunnel->reserved) {
			offset +=
				GENEVE_HEADER_LEN + (tunnel->flags & 0x3f) * 4; /* RFC 8926, 3.4 */
		} else {
			return 0;
		}
	} else if (outer->protocol != PROTOCOL_IPV4 && outer->protocol != PROTOCOL_IPV6) {
		return 0;
	}
	offset = forget(frame, offset);
	if (bridged) {
		type = header_at(frame, offset + ETHERTYPE_OFFSET, sizeof(*type));
		if (type && *type == bpf_htons(ETHERTYPE_VLAN)) {
			offset = forget(frame, offset + VLAN_TAG_LEN);
			type = header_at(frame, offset + ETHERTYPE_OFFSET, sizeof(*type));
		}
		if (!type ||
		    (*type != bpf_htons(ETHERTYPE_IPV4) && *type != bpf_htons(ETHERTYPE_IPV6)))
			return 0;
		offset += ETHERNET_HEADER_LEN;
	}
	return inner_headers_len(frame, forget(frame, offset));
}

static __always_inline struct wire_counts
count_wire(struct __sk_buff *skb, const struct frame *frame, const struct packet *packet)
{
	struct wire_counts wire = {.packets = 1, .bytes = skb->len};
	__u32 segments, headers_len = packet->headers_len, repeated;

	if (skb->gso_size && packet->family) {
		__u32 inner_len = tunnel_headers_len(frame, packet);

		if (inner_len)
			headers_len = inner_len;
		segments = skb->gso_segs;
		if (!segments && skb->len > headers_len)
			segments = (skb->len - headers_len + skb->gso_size - 1) / skb->gso_size;
		if (segments > 1) {
			repeated = headers_len - packet->jumbo_len;
			wire.packets = segments;
			wire.bytes += (__u64)(segments - 1) * repeated - packet->jumbo_len;
		}
	}
	if (skb->vlan_present)
		wire.bytes += wire.packets * VLAN_TAG_LEN;
	return wire;
}

#endif
