/* SPDX-License-Identifier: GPL-2.0 */
/* In the place of monitor(): nothing at all. What the kernel takes to call a program and to time it. */
int monitor(struct __sk_buff *skb)
{
	return direction_of_this_program() ? TC_ACT_UNSPEC : TC_ACT_UNSPEC;
}
