#params REP
#for r in 0..REP
#for i in 0..4
#for c in 0..REP
    put(
        row_begin + (${r}u * SIDE + tile_y) * 4u + ${i}u, rows,
        column_begin + (${c}u * SIDE + tile_x) * 4u, columns, acc_${r}_${i}_${c},
    );
#end
#end
#end
