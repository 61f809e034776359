#params TILE REP SUMS
    // Requires lane, row_begin, rows, left_stride, column_begin, columns, right_stride, inner_begin, inner_end in scope. Defines
    // acc_r_i_c: row 4 (r SIDE + y) + i, columns 4 (c SIDE + x) .. + 4 of the tile.
    let tile_x = lane % SIDE;
    let tile_y = lane / SIDE;
#for r in 0..REP
#for i in 0..4
#for c in 0..REP
    var acc_${r}_${i}_${c} = vec4<f32>();
#end
#end
#if SUMS
    var left_sum_${r} = vec4<f32>();
#end
#end
    for (var inner = inner_begin; inner < inner_end; inner += 16u) {
        load_left(lane, row_begin, rows, inner, inner_end, left_stride);
        load_right(lane, column_begin, columns, inner, inner_end, right_stride);
        workgroupBarrier();
#for k in 0..16
        {
#for c in 0..REP
            let right_${c} = right_tile[${k * TILE / 4}u + ((${c}u * SIDE + tile_x) ^ bank(${k}u))];
#end
#for r in 0..REP
            let left_${r} = left_tile[${k * TILE / 4}u + ((${r}u * SIDE + tile_y) ^ bank(${k}u))];
#if SUMS
            left_sum_${r} += left_${r};
#end
#for i in 0..4
#for c in 0..REP
            acc_${r}_${i}_${c} += left_${r}[${i}] * right_${c};
#end
#end
#end
        }
#end
        workgroupBarrier();
    }
