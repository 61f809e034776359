#params REP
    // Stores the products and the sums of the left rows of one slice, and requires gb [S, rows].
    let slice = group.z * rows;
#for r in 0..REP
#for i in 0..4
    {
        let row = row_begin + (${r}u * SIDE + tile_y) * 4u + ${i}u;
#for c in 0..REP
        if (row < rows) {
            put(slice + row, slice + rows, column_begin + (${c}u * SIDE + tile_x) * 4u, columns, acc_${r}_${i}_${c});
        }
#end
        if (row < rows && group.x == 0u && tile_x == 0u) {
            gb[slice + row] = left_sum_${r}[${i}];
        }
    }
#end
#end
