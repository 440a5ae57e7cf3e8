#include "textflag.h"

// Each takes eight elements at a time, of which there are eights.

#define BEGIN \
	MOVQ dst+0(FP), DI \
	MOVQ raw+8(FP), SI \
	MOVQ n+16(FP), CX

// The eight float32 in Y0 to DI.
#define STORE \
	VEXTRACTF128 $1, Y0, X1  \
	VCVTPS2PD    X0, Y2      \
	VCVTPS2PD    X1, Y3      \
	VMOVUPD      Y2, (DI)    \
	VMOVUPD      Y3, 32(DI)  \
	ADDQ         $64, DI     \
	SUBQ         $8, CX

// func widenFloat32(dst *float64, raw *byte, n int)
TEXT ·widenFloat32(SB), NOSPLIT, $0-24
	BEGIN

float32:
	VCVTPS2PD (SI), Y2
	VCVTPS2PD 16(SI), Y3
	VMOVUPD   Y2, (DI)
	VMOVUPD   Y3, 32(DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $8, CX
	JNZ       float32
	VZEROUPPER
	RET

// func widenFloat16(dst *float64, raw *byte, n int)
TEXT ·widenFloat16(SB), NOSPLIT, $0-24
	BEGIN

float16:
	VCVTPH2PS (SI), Y0
	ADDQ      $16, SI
	STORE
	JNZ       float16
	VZEROUPPER
	RET

// func widenBFloat16(dst *float64, raw *byte, n int)
TEXT ·widenBFloat16(SB), NOSPLIT, $0-24
	BEGIN

bfloat16:
	VPMOVZXWD (SI), Y0
	VPSLLD    $16, Y0, Y0
	ADDQ      $16, SI
	STORE
	JNZ       bfloat16
	VZEROUPPER
	RET
