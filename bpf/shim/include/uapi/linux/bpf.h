/* SPDX-License-Identifier: GPL-2.0 */
/* BCC includes this header; nothing from it is used. */
