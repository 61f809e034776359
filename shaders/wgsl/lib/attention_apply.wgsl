#params INTO LOAD AT STRIDE DEPTH CHUNK
        // Adds the product of the weights and the rows of the current columns to ${INTO}_c: 4 rows of dimension 16 c + lane_x.
        for (var first = 0u; first < 64u && column_begin + first < row_end; first += ${CHUNK}u) {
            ${LOAD}(lane, column_begin + first, row_end, ${AT}, ${STRIDE});
            workgroupBarrier();
#for k in 0..CHUNK
            {
                let weight = weights[weight_index(first + ${k}u, lane_y)];
#for c in 0..DEPTH / 16
                ${INTO}_${c} += weight * stage[${k * DEPTH / 4 + c * 4}u + lane_x / 4u][lane_x % 4u];
#end
            }
#end
            workgroupBarrier();
        }
