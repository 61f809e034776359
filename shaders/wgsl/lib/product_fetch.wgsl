#params NAME SOURCE CALL TARGET AT TILE THREADS FIRST V4 ALONG_INNER
// CALL: ${SOURCE} is a function of the outer and the inner index instead of an array.
// Copies ${TILE} outer by 16 inner indices of ${SOURCE} to ${TARGET}, with the inner index outermost; elements out of range are 0.
#if ALONG_INNER
// The inner index runs along a row of ${SOURCE}, which is `stride` elements long.
#else
// The outer index runs along a row of ${SOURCE}, which is `stride` elements long.
#end
fn ${NAME}(lane: u32, outer_begin: u32, outer_end: u32, inner_begin: u32, inner_end: u32, stride: u32) {
#if V4 * ALONG_INNER
    // Each invocation reads 4 x 4 elements and transposes them in registers.
    let item = lane - ${FIRST}u;
    if (item < ${TILE}u) {
        let i = (item % 4u) * 4u;
        let quad = item / 4u;
        let inner = inner_begin + i;
        let outer = outer_begin + quad * 4u;
#for r in 0..4
        var row${r} = vec4<f32>();
        if (outer + ${r}u < outer_end && inner < inner_end) {
#if CALL
            row${r} = ${SOURCE}(outer + ${r}u, inner);
#else
            row${r} = ${SOURCE}[((outer + ${r}u) * stride + inner) / 4u];
#end
        }
#end
#for c in 0..4
        ${TARGET}[${AT}u + (i + ${c}u) * ${TILE / 4}u + (quad ^ bank(i + ${c}u))] = vec4(row0[${c}], row1[${c}], row2[${c}], row3[${c}]);
#end
    }
#else
#for pass in 0..TILE * 4 / THREADS
    {
        let item = lane + ${pass * THREADS}u;
#if ALONG_INNER
        let i = item % 16u;
        let quad = item / 16u;
#else
        let i = item / ${TILE / 4}u;
        let quad = item % ${TILE / 4}u;
#end
        let inner = inner_begin + i;
        let outer = outer_begin + quad * 4u;
        var value = vec4<f32>();
#if V4
        if (inner < inner_end && outer < outer_end) {
#if CALL
            value = ${SOURCE}(outer, inner);
#else
            value = ${SOURCE}[(inner * stride + outer) / 4u];
#end
        }
#else
#for r in 0..4
        if (inner < inner_end && outer + ${r}u < outer_end) {
#if CALL
            value[${r}] = ${SOURCE}(outer + ${r}u, inner);
#else
#if ALONG_INNER
            value[${r}] = ${SOURCE}[(outer + ${r}u) * stride + inner];
#else
            value[${r}] = ${SOURCE}[inner * stride + outer + ${r}u];
#end
#end
        }
#end
#end
        ${TARGET}[${AT}u + i * ${TILE / 4}u + (quad ^ bank(i))] = value;
    }
#end
#end
}
