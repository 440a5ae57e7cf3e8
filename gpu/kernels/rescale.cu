// The one operation: dst[e] = round(src[e] · s), where s is the float64 product of the factors' scales of element e, taken
// in order. One float64 multiplication, one rounding to nearest even; every NaN result is the type's canonical quiet NaN,
// subnormals are kept. tensor.Rescale is the definition, and zoo/tensor/reference.go its plain form.
//
// Compiled to PTX by make kernels, without contraction and without flushing subnormals.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;

// Factor is tensor.Factor: element e belongs to channel e/span·channels + e/inner%channels.
struct Factor {
	u64 inner, channels, span;
	const double *scale;
};

// Tally is tensor.Tally, with the largest u64 where there is no first element.
struct Tally {
	u64 non_finite, first_non_finite, overflow, first_overflow, subnormal, first_subnormal;
};

// scale_of takes one factor at least: the host gives a factor of one scale, 1, where there is none.
__device__ double scale_of(u64 e, const Factor *factors, u64 count) {
	double s = 1;
	u64 k = 0;
#pragma unroll 1
	do {
		const Factor f = factors[k];
		s *= f.scale[e / f.span * f.channels + e / f.inner % f.channels];
	} while (++k < count);
	return s;
}

__device__ void note(u64 *count, u64 *first, u64 e) {
	atomicAdd(count, 1ULL);
	atomicMin(first, e);
}

const u64 sign64 = 1ULL << 63, infinity64 = 2047ULL << 52;

__device__ bool not_finite(double x) { return (__double_as_longlong(x) & infinity64) == infinity64; }

__device__ void count(Tally *t, u64 e, double before, double after, double scale, double smallest) {
	if (not_finite(before)) {
		note(&t->non_finite, &t->first_non_finite, e);
	} else if (not_finite(after)) {
		note(&t->overflow, &t->first_overflow, e);
	} else if (scale != 0 && fabs(before) >= smallest && fabs(after) < smallest) {
		note(&t->subnormal, &t->first_subnormal, e);
	}
}

// F64, F32, F16 and BF16 read and write one element.
struct F64 {
	typedef u64 bits;
	static __device__ double smallest() { return 0x1p-1022; }
	static __device__ double decode(bits b) { return __longlong_as_double(b); }
	static __device__ bits encode(double x) { return x == x ? __double_as_longlong(x) : 0x7ff8000000000000ULL; }
};

struct F32 {
	typedef u32 bits;
	static __device__ double smallest() { return 0x1p-126; }
	static __device__ double decode(bits b) { return __uint_as_float(b); }
	static __device__ bits encode(double x) { return x == x ? __float_as_uint(__double2float_rn(x)) : 0x7fc00000u; }
};

// Small is a 16-bit type of so many mantissa bits and that exponent bias, rounded once from the float64's bits.
template <int mantissa, int bias> struct Small {
	typedef u16 bits;
	static const int exponents = (1 << (15 - mantissa)) - 1; // the exponent of infinity
	static __device__ double smallest() { return __longlong_as_double((u64)(1023 + 1 - bias) << 52); }
	static __device__ double decode(bits b) {
		u64 sign = (u64)(b >> 15) << 63, fraction = b & ((1u << mantissa) - 1);
		int exponent = b >> mantissa & exponents;
		if (exponent == exponents) {
			return __longlong_as_double(sign | infinity64 | fraction << (52 - mantissa));
		}
		if (exponent == 0) { // fraction · 2^(1-bias-mantissa), exactly
			double x = (double)fraction * __longlong_as_double((u64)(1023 + 1 - bias - mantissa) << 52);
			return __longlong_as_double(sign | __double_as_longlong(x));
		}
		return __longlong_as_double(sign | (u64)(exponent - bias + 1023) << 52 | fraction << (52 - mantissa));
	}
	static __device__ bits encode(double x) {
		u64 b = __double_as_longlong(x);
		u32 sign = (u32)(b >> 48) & 0x8000;
		u64 magnitude = b & ~sign64;
		if (magnitude > infinity64) {
			return exponents << mantissa | 1 << (mantissa - 1);
		}
		int exponent = (int)(magnitude >> 52) - 1023 + bias;
		if (exponent >= exponents) {
			return sign | exponents << mantissa;
		}
		u64 significand = (magnitude & ((1ULL << 52) - 1)) | 1ULL << 52;
		int drop = 52 - mantissa;
		u64 head = 0;
		if (exponent <= 0) { // subnormal: no hidden bit, further right
			drop += 1 - exponent;
			if (drop > 54) {
				return sign;
			}
		} else {
			head = (u64)(exponent - 1) << mantissa; // the hidden bit adds one
		}
		u64 kept = significand >> drop, rest = significand & ((1ULL << drop) - 1), half = 1ULL << (drop - 1);
		if (rest > half || (rest == half && (kept & 1))) {
			kept++;
		}
		return sign | (u32)(head + kept); // a carry goes into the exponent, up to infinity
	}
};

template <typename T> __device__ void rescale(u64 dst, u64 src, u64 n, u64 first, u64 factors, u64 count_of_factors, u64 tally) {
	const typename T::bits *from = (const typename T::bits *)src;
	typename T::bits *to = (typename T::bits *)dst;
#pragma unroll 1
	for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (u64)gridDim.x * blockDim.x) {
		double s = scale_of(first + i, (const Factor *)factors, count_of_factors);
		double before = T::decode(from[i]);
		typename T::bits after = T::encode(before * s);
		to[i] = after;
		count((Tally *)tally, first + i, before, T::decode(after), s, T::smallest());
	}
}

#define ENTRY(name, type)                                                                                                   \
	extern "C" __global__ void name(u64 dst, u64 src, u64 n, u64 first, u64 factors, u64 count, u64 tally) {              \
		rescale<type>(dst, src, n, first, factors, count, tally);                                                           \
	}

typedef Small<10, 15> F16;
typedef Small<7, 127> BF16;

ENTRY(rescale_f64, F64)
ENTRY(rescale_f32, F32)
ENTRY(rescale_f16, F16)
ENTRY(rescale_bf16, BF16)
