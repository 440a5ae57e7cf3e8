// Float64 matrix products: c[i][j] = Σ a[i][x]·b[x][j], of m×k, k×n and m×n elements in rows. The terms are added from x = 0
// on, each product and each sum rounded once: a plain loop of the host gives the same bits. A thread does a tile of c, and no
// sum is split. No extent is 0.
//
// Compiled to PTX by make kernels, without contraction and without flushing subnormals.

typedef unsigned long long u64;
typedef unsigned int u32;

const int tile = 4; // rows and columns that a thread does at once, so that each element it loads is used four times

extern "C" __global__ void product_f64(u64 c_at, u64 a_at, u64 b_at, u64 m, u64 n, u64 k) {
	double *c = (double *)c_at;
	const double *a = (const double *)a_at, *b = (const double *)b_at;
	const u64 across = (n + tile - 1) / tile, tiles = (m + tile - 1) / tile * across, threads = (u64)gridDim.x * blockDim.x;
	// There are fewer than 2^32 tiles: c would have half a terabyte.
#pragma unroll 1
	for (u64 t = (u64)blockIdx.x * blockDim.x + threadIdx.x; t < tiles; t += threads) {
		const u64 row = (u64)((u32)t / (u32)across) * tile, column = (u64)((u32)t % (u32)across) * tile;
		const double *of_a[tile], *of_b[tile];
#pragma unroll
		for (int y = 0; y < tile; y++) { // what lies beyond the edge is done like the last one, and not stored
			of_a[y] = a + min(row + y, m - 1) * k;
			of_b[y] = b + min(column + y, n - 1);
		}
		double sum[tile][tile] = {};
		u64 x = 0;
#pragma unroll 1
		do {
			double left[tile], right[tile];
#pragma unroll
			for (int y = 0; y < tile; y++) {
				left[y] = of_a[y][x];
				right[y] = of_b[y][x * n];
			}
#pragma unroll
			for (int y = 0; y < tile; y++) {
#pragma unroll
				for (int z = 0; z < tile; z++) {
					sum[y][z] += left[y] * right[z];
				}
			}
		} while (++x < k);
#pragma unroll
		for (int y = 0; y < tile; y++) {
#pragma unroll
			for (int z = 0; z < tile; z++) {
				if (row + y < m && column + z < n) {
					c[(row + y) * n + column + z] = sum[y][z];
				}
			}
		}
	}
}
