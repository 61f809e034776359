// Index of a workgroup in a grid that is folded into x and y, since one axis has at most 65,535.
fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
