#params TILE REP V4 LEFT LEFT_CALL LEFT_ALONG_INNER RIGHT RIGHT_CALL RIGHT_ALONG_INNER
// Tiles of a matrix product: TILE rows of the left and TILE columns of the right operand by 16 inner indices, with the inner index
// outermost, so that 4 rows or 4 columns form one vec4. lib/product_loop.wgsl multiplies them.
const TILE_X: u32 = ${TILE}u;
const TILE_Y: u32 = ${TILE}u;
const TILE_Z: u32 = 1u;
// Invocations along a side of the tile, and in total.
const SIDE: u32 = ${TILE / 4 / REP}u;
const LANES: u32 = SIDE * SIDE;

var<workgroup> left_tile: array<vec4<f32>, ${TILE * 4}>;
var<workgroup> right_tile: array<vec4<f32>, ${TILE * 4}>;

#include "lib/bank.wgsl"
#include "lib/product_fetch.wgsl" NAME=load_left SOURCE=LEFT CALL=LEFT_CALL TARGET=left_tile AT=0 TILE=TILE THREADS=${TILE*TILE/16/REP/REP} FIRST=0 V4=V4 ALONG_INNER=LEFT_ALONG_INNER
#include "lib/product_fetch.wgsl" NAME=load_right SOURCE=RIGHT CALL=RIGHT_CALL TARGET=right_tile AT=0 TILE=TILE THREADS=${TILE*TILE/16/REP/REP} FIRST=${TILE*LEFT_ALONG_INNER} V4=V4 ALONG_INNER=RIGHT_ALONG_INNER

// Stores 4 adjacent columns of a row with the entry's `finish`, except those outside `rows` x `columns`.
fn put(row: u32, rows: u32, column: u32, columns: u32, value: vec4<f32>) {
#if V4
    if (row < rows && column < columns) {
        finish(row, column / 4u, value);
    }
#else
#for j in 0..4
    if (row < rows && column + ${j}u < columns) {
        finish(row, column + ${j}u, value[${j}]);
    }
#end
#end
}
