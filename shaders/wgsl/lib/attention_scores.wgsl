#params INTO LOAD_ROWS ROWS_AT ROWS_STRIDE LOAD_COLUMNS COLUMNS_AT COLUMNS_STRIDE
        // Defines ${INTO}_j: 4 rows of column 4 lane_x + j of the product of rows and columns over the head dimension.
#for j in 0..4
        var ${INTO}_${j} = vec4<f32>();
#end
        for (var d = 0u; d < dims.head_dim; d += 16u) {
            ${LOAD_ROWS}(lane, row_begin, row_end, ${ROWS_AT} + d, ${ROWS_AT} + dims.head_dim, ${ROWS_STRIDE});
            ${LOAD_COLUMNS}(lane, column_begin, row_end, ${COLUMNS_AT} + d, ${COLUMNS_AT} + dims.head_dim, ${COLUMNS_STRIDE});
            workgroupBarrier();
#for k in 0..16
            {
                let row = stage[${k * 8}u + (lane_y ^ bank(${k}u))];
                let column = stage[${128 + k * 16}u + (lane_x ^ bank(${k}u))];
#for j in 0..4
                ${INTO}_${j} += row * column[${j}];
#end
            }
#end
            workgroupBarrier();
        }
