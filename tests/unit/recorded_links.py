"""RTM_GETLINK answers as Linux 6.18 gave them, less the message header, of five interfaces.

Recorded in a network namespace with a veth pair whose end e1 is a port of the bridge br0;
a veth v0 whose peer is in another namespace; a tun device. Compressed, in base 85.
"""

from __future__ import annotations

import base64
import zlib

_COMPRESSED = {
    "lo": (
        "c-rlfJ4*vW5Xb*}kK7r2oDd?Y_(0K!g~3-5qsCWZX=iC+Ix$$J-_jx<B3SuhEd3B-"
        "VP#==&hGsq$#I@2SO^Z>{f6E7&(7=);JFIGDa;=T;Nq$Ugc!k-"
        "3;2lax{q=4$VP_n<gbM5c0I%fIYrKpyW}i&6~wXO3iUN|pKOpjc#8vJo$-"
        "gvGiUSom}kBPuCI|*%L0zc6V|<KS!ADy?|k?Vm_V6+kJDR&{3~`TuUKXuruN^ce;BKBrw;uBu3I<lX1j^1JBg0"
        "0-"
        "}c=z?28V5=wsSc&R&*9^0a1Fv+{JEqRfQNrb|+>nWg(XACH|x^U59?RHW;S#kyljtnqbi2>MLH9Ct3#D5JlN=g"
        "(_3Ins5jRL#h_AN{hOyKl|wot2!Ij@wi&mhf-ivAWE7@I!4WL+Q&@8e7EZmwFF-+QWf<2lxd#zy"
    ),
    "e1": (
        "c-"
        "rlhzfTlV5XZl7_uk%e9<U&2<mVAkL<)XrC=dh$dgv&LVIu^TK)`xS3;zhT<Zq#(<_|CyG+J1YoHKJ@<lJ1)Xlw"
        "|RTt08^&CJf5nfCyP0Kj76pi)GLbOMOcjL#w9ksyMy&GtPOjWG&1^U6sqnf?^js<NB=eQ?HEvfsWF<1y_<M03J"
        "va*muQpW}PAD4e1FOUA7*PDwJ*d<GbQkpGWSA2&vpopPD^4;xFeyWjco&DT?12l5RS-"
        "~{(^Q)ENB`M;%%QK@NQ>mApQCaLSY^k7r<JJO+7`&%2YQ((n;v2*N2AYIfRh34t4lS)rUWRdJ4V~gPJE6Q%Nk1"
        "Wxy%-"
        "ouhvCCz&{9H$9h08RLg!!~lZ)cpljMG8((ypI+g&ZV@$bnyG%*(9TILdrF>*{u|ZhbX#9uGLb523}0@rZLjLOv"
        "nAR8M^)yxrY9Ob=6xhh6v}PVZUgOL4g$>iDmc$Wis3$cx553QFu4q>|q5@$n~*i|v}vH_naTczsLqdFqWkYQ2h"
        "|O*bK1b$0GGaZMVWZ~aT-"
        "JYDY0mwCIK4X&wAc0P6OzDaGA?W~%A-tL(T+0k41Q<;$&|J#?Wqk*TsBPv7kCj3qcc###bko^Gq@K8P"
    ),
    "br0": (
        "c-rlhzfTlV5XZl7Z};{N4q5OJ#UBR(ib7;XLV@^O{{TBn#UsW-"
        "A(z;1X+dGEDezyhvam3Q(m%jh*g!#d%*^}lvAG<?Xl#s=Y(6vlX6DVlH?x342p~vcQb7r;tyDOG?<F8Yf&j`PT"
        "aWNSBGfO$w@A5whi2bEyRAISJQv7YWP@=t^t&RK6E2f?$h+iC?6+g#3jOah&$#7@FhP5gdFN@TW|yrh<s;U8+1"
        "Mwmt&tC}cE73~NNyG2Ge+^RNE7j2-"
        "=l_EIn%)OEjNsQIoH+J%jSzUVABP%o)mnC3i@zCKiSbM67Tydz$f<Mm)Q4N`bHV?KFdI+_Zic!GFQL6_BUITo6"
        "YsItoZx`?1K~JAp4;XmwjZ8YsLoq$j4o$|0(v}D0!Oi&yZK?KW1NUbC4*{*(p_Uo^v!y&RL$C%t^Cz9u2%(%k^"
        "<=J<s(C?4-"
        "GV(dN?YlUVehC;6txY4Vb>Dkt=MeSJgqv^0iI+5N5Ud?>E#L4kiNiHu!dZ}*<tL7&~bN?j_}IeeeQn0e-"
        "7_Sj$gN6_Bru2Uy>d+;!Swp>N_*g?%F0XiL6jCuOw=vrNmy4?}$z0N25xpeHhN$8>9s`YpKExHnK?!Wx1tVoal"
        "?jNt-BQlb%RGH$x;y4L$I}33yI{<z0Re%"
    ),
    "t0": (
        "c-"
        "rk#yGjE=6g{)MlTF0OC;>si2Z|3ATvSA2eCr3;Sy)(DSS1!ozomtRooznIPw)f8!YZ}vy?3uDV~nWShzFK4cji"
        "9M+_?)pWifzj2SJPwjRYv74{ZZjI0RrGlyi%H;UXg3S>|ONh`oX=V;<G>G38C=aTwt_^_wTl5LcA9m3Ndkl&k8"
        "$r+FqMkHw_gQ<`^4?L_Q?sA4`;-"
        "Lt~C7{*`08RB2B(TfG@T_Edq3{ig#8qFFOY0uKE<ZlsakF9b+_j7$EvTODF1+SBE1XmP$DITvd-iJ5*Q#gA1`|"
        "$lf=Whi)awkTa6!WazxELqrc}!dH&Qr<r?(575t%2N^*J-"
        "7M^vHnA9aE_5aKF=skF|0RU$^lzqf39%$F;8Kg6O4IUeEViH6dp3kFTIgGydJbvD_ij(o{00(f?_Dgsn8fZu$("
        "@q&z("
    ),
    "v0": (
        "c-"
        "rk#yGjF55Iy(qZgvxVtP&6uG~z2_;i6&@<J+`?opu%qsf<NPy`2_*M83j*5c~u`KrF08?ADptfykODDmLPQ%ek"
        "}j*mLj91q|{4YzTo52dxMQ(2siu@DRd+c}V;oc7+4Dxbv8ouqXC1l7x9o{o~5($`ev2Kw0DF$uh(h<xS-"
        "+<u$w{K5<p!ceGAP^-"
        "QWgMbXTQYDZ${L=|&Qb<YVG$opJ7+P}Hxy`|a=;1(nJD>$Jp{x<rsKzC|oA7Yqh$e?xFtfxJg(O!78K)xK#8jW"
        "-Q7CEE1qP$D#QU@lp@P>bikXp~PoCVi!+X87!|5PNsJPQ{kAN6LM^Q33wspNUj>g4HZ4|eLul|14D12zvW-"
        "_85;9Y6HeYP#q)J^bD7Cw^T0&@XUP;<K{;Y}|@*FpGbD1y!2y@4mWXm(29#0Mi)wG~dNW>|#591vbY$SO"
    ),
}

LINKS = {name: zlib.decompress(base64.b85decode(text)) for name, text in _COMPRESSED.items()}
