//! The table of all functions: what a linker may bind, and the methods of [`Rank`].

use crate::{Callback, Outcome, Rank, blocking::may_block};

/// Calls a macro with all functions of MPI that the engine has, for those who bind them:
/// `"MPI_Send" send(buf: u32, count: i32, …);` and so on. Pointers are `u32`; whatever else is an
/// `int` for a guest is `i32`. Beside these there are only `MPI_Wtime` and `MPI_Wtick`, which give
/// a `double` and are [`Rank::wtime`] and [`Rank::wtick`].
#[macro_export]
macro_rules! functions {
    ($each:ident) => {
        $each! {
            // environment
            "MPI_Init" init(argc: u32, argv: u32);
            "MPI_Init_thread" init_thread(argc: u32, argv: u32, required: i32, provided: u32);
            "MPI_Initialized" initialized(flag: u32);
            "MPI_Finalized" finalized(flag: u32);
            "MPI_Finalize" finalize();
            "MPI_Abort" abort(comm: i32, errorcode: i32);
            "MPI_Query_thread" query_thread(provided: u32);
            "MPI_Is_thread_main" is_thread_main(flag: u32);
            "MPI_Get_version" get_version(version: u32, subversion: u32);
            "MPI_Get_library_version" get_library_version(version: u32, resultlen: u32);
            "MPI_Get_processor_name" get_processor_name(name: u32, resultlen: u32);
            "MPI_Get_address" get_address(location: u32, address: u32);
            "MPI_Alloc_mem" alloc_mem(size: i32, info: i32, baseptr: u32);
            "MPI_Free_mem" free_mem(base: u32);
            "MPI_Pcontrol" pcontrol(level: i32, more: u32);
            "MPI_Error_class" error_class(errorcode: i32, errorclass: u32);
            "MPI_Error_string" error_string(errorcode: i32, string: u32, resultlen: u32);
            "MPI_Add_error_class" add_error_class(errorclass: u32);
            "MPI_Add_error_code" add_error_code(errorclass: i32, errorcode: u32);
            "MPI_Add_error_string" add_error_string(errorcode: i32, string: u32);
            "MPI_Comm_create_errhandler" comm_create_errhandler(function: u32, errhandler: u32);
            "MPI_Comm_set_errhandler" comm_set_errhandler(comm: i32, errhandler: i32);
            "MPI_Comm_get_errhandler" comm_get_errhandler(comm: i32, errhandler: u32);
            "MPI_Errhandler_free" errhandler_free(errhandler: u32);
            "MPI_Comm_call_errhandler" comm_call_errhandler(comm: i32, errorcode: i32);
            "MPI_Win_create_errhandler" win_create_errhandler(function: u32, errhandler: u32);
            "MPI_Win_set_errhandler" win_set_errhandler(win: i32, errhandler: i32);
            "MPI_Win_get_errhandler" win_get_errhandler(win: i32, errhandler: u32);
            "MPI_Win_call_errhandler" win_call_errhandler(win: i32, errorcode: i32);
            "MPI_Info_create" info_create(info: u32);
            "MPI_Info_dup" info_dup(info: i32, newinfo: u32);
            "MPI_Info_free" info_free(info: u32);
            "MPI_Info_set" info_set(info: i32, key: u32, value: u32);
            "MPI_Info_delete" info_delete(info: i32, key: u32);
            "MPI_Info_get" info_get(info: i32, key: u32, valuelen: i32, value: u32, flag: u32);
            "MPI_Info_get_valuelen" info_get_valuelen(info: i32, key: u32, valuelen: u32, flag: u32);
            "MPI_Info_get_nkeys" info_get_nkeys(info: i32, nkeys: u32);
            "MPI_Info_get_nthkey" info_get_nthkey(info: i32, n: i32, key: u32);
            "MPI_Comm_set_info" comm_set_info(comm: i32, info: i32);
            "MPI_Comm_get_info" comm_get_info(comm: i32, info: u32);
            "MPI_Win_set_info" win_set_info(win: i32, info: i32);
            "MPI_Win_get_info" win_get_info(win: i32, info: u32);
            // attribute
            "MPI_Comm_create_keyval" comm_create_keyval(copy: u32, delete: u32, keyval: u32, extra: u32);
            "MPI_Comm_free_keyval" comm_free_keyval(keyval: u32);
            "MPI_Comm_set_attr" comm_set_attr(comm: i32, keyval: i32, value: u32);
            "MPI_Comm_get_attr" comm_get_attr(comm: i32, keyval: i32, value: u32, flag: u32);
            "MPI_Comm_delete_attr" comm_delete_attr(comm: i32, keyval: i32);
            "MPI_Type_create_keyval" type_create_keyval(copy: u32, delete: u32, keyval: u32, extra: u32);
            "MPI_Type_free_keyval" type_free_keyval(keyval: u32);
            "MPI_Type_set_attr" type_set_attr(datatype: i32, keyval: i32, value: u32);
            "MPI_Type_get_attr" type_get_attr(datatype: i32, keyval: i32, value: u32, flag: u32);
            "MPI_Type_delete_attr" type_delete_attr(datatype: i32, keyval: i32);
            "MPI_Win_create_keyval" win_create_keyval(copy: u32, delete: u32, keyval: u32, extra: u32);
            "MPI_Win_free_keyval" win_free_keyval(keyval: u32);
            "MPI_Win_set_attr" win_set_attr(win: i32, keyval: i32, value: u32);
            "MPI_Win_delete_attr" win_delete_attr(win: i32, keyval: i32);
            // point
            "MPI_Send" send(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32);
            "MPI_Ssend" ssend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32);
            "MPI_Bsend" bsend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32);
            "MPI_Rsend" rsend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32);
            "MPI_Isend" isend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Issend" issend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Ibsend" ibsend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Irsend" irsend(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Send_init" send_init(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Ssend_init" ssend_init(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Bsend_init" bsend_init(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Rsend_init" rsend_init(buf: u32, count: i32, datatype: i32, dest: i32, tag: i32, comm: i32, request: u32);
            "MPI_Recv_init" recv_init(buf: u32, count: i32, datatype: i32, source: i32, tag: i32, comm: i32, request: u32);
            "MPI_Recv" recv(buf: u32, count: i32, datatype: i32, source: i32, tag: i32, comm: i32, status: u32);
            "MPI_Irecv" irecv(buf: u32, count: i32, datatype: i32, source: i32, tag: i32, comm: i32, request: u32);
            "MPI_Sendrecv" sendrecv(sendbuf: u32, sendcount: i32, sendtype: i32, dest: i32, sendtag: i32, recvbuf: u32, recvcount: i32, recvtype: i32, source: i32, recvtag: i32, comm: i32, status: u32);
            "MPI_Sendrecv_replace" sendrecv_replace(buf: u32, count: i32, datatype: i32, dest: i32, sendtag: i32, source: i32, recvtag: i32, comm: i32, status: u32);
            "MPI_Probe" probe(source: i32, tag: i32, comm: i32, status: u32);
            "MPI_Iprobe" iprobe(source: i32, tag: i32, comm: i32, flag: u32, status: u32);
            "MPI_Mprobe" mprobe(source: i32, tag: i32, comm: i32, message: u32, status: u32);
            "MPI_Improbe" improbe(source: i32, tag: i32, comm: i32, flag: u32, message: u32, status: u32);
            "MPI_Mrecv" mrecv(buf: u32, count: i32, datatype: i32, message: u32, status: u32);
            "MPI_Imrecv" imrecv(buf: u32, count: i32, datatype: i32, message: u32, request: u32);
            "MPI_Buffer_attach" buffer_attach(buffer: u32, size: i32);
            "MPI_Buffer_detach" buffer_detach(buffer: u32, size: u32);
            // request
            "MPI_Wait" wait(request: u32, status: u32);
            "MPI_Test" test(request: u32, flag: u32, status: u32);
            "MPI_Request_get_status" request_get_status(request: i32, flag: u32, status: u32);
            "MPI_Waitall" waitall(number: i32, requests: u32, statuses: u32);
            "MPI_Testall" testall(number: i32, requests: u32, flag: u32, statuses: u32);
            "MPI_Waitany" waitany(number: i32, requests: u32, index: u32, status: u32);
            "MPI_Testany" testany(number: i32, requests: u32, index: u32, flag: u32, status: u32);
            "MPI_Waitsome" waitsome(incount: i32, requests: u32, outcount: u32, indices: u32, statuses: u32);
            "MPI_Testsome" testsome(incount: i32, requests: u32, outcount: u32, indices: u32, statuses: u32);
            "MPI_Start" start(request: u32);
            "MPI_Startall" startall(number: i32, requests: u32);
            "MPI_Request_free" request_free(request: u32);
            "MPI_Cancel" cancel(request: u32);
            "MPI_Test_cancelled" test_cancelled(status: u32, flag: u32);
            "MPI_Status_set_cancelled" status_set_cancelled(status: u32, flag: i32);
            "MPI_Status_set_elements" status_set_elements(status: u32, datatype: i32, number: i32);
            "MPI_Get_count" get_count(status: u32, datatype: i32, number: u32);
            "MPI_Get_elements" get_elements(status: u32, datatype: i32, number: u32);
            "MPI_Get_elements_x" get_elements_x(status: u32, datatype: i32, number: u32);
            // communicator
            "MPI_Comm_size" comm_size(comm: i32, size: u32);
            "MPI_Comm_rank" comm_rank(comm: i32, rank: u32);
            "MPI_Comm_compare" comm_compare(comm1: i32, comm2: i32, result: u32);
            "MPI_Comm_dup" comm_dup(comm: i32, newcomm: u32);
            "MPI_Comm_dup_with_info" comm_dup_with_info(comm: i32, info: i32, newcomm: u32);
            "MPI_Comm_idup" comm_idup(comm: i32, newcomm: u32, request: u32);
            "MPI_Comm_create" comm_create(comm: i32, group: i32, newcomm: u32);
            "MPI_Comm_create_group" comm_create_group(comm: i32, group: i32, tag: i32, newcomm: u32);
            "MPI_Comm_split" comm_split(comm: i32, color: i32, key: i32, newcomm: u32);
            "MPI_Comm_split_type" comm_split_type(comm: i32, split_type: i32, key: i32, info: i32, newcomm: u32);
            "MPI_Comm_free" comm_free(comm: u32);
            "MPI_Comm_disconnect" comm_disconnect(comm: u32);
            "MPI_Comm_set_name" comm_set_name(comm: i32, name: u32);
            "MPI_Comm_get_name" comm_get_name(comm: i32, name: u32, length: u32);
            "MPI_Comm_test_inter" comm_test_inter(comm: i32, flag: u32);
            "MPI_Comm_group" comm_group(comm: i32, group: u32);
            // group
            "MPI_Group_size" group_size(group: i32, size: u32);
            "MPI_Group_rank" group_rank(group: i32, rank: u32);
            "MPI_Group_incl" group_incl(group: i32, n: i32, ranks: u32, newgroup: u32);
            "MPI_Group_excl" group_excl(group: i32, n: i32, ranks: u32, newgroup: u32);
            "MPI_Group_range_incl" group_range_incl(group: i32, n: i32, ranges: u32, newgroup: u32);
            "MPI_Group_range_excl" group_range_excl(group: i32, n: i32, ranges: u32, newgroup: u32);
            "MPI_Group_union" group_union(group1: i32, group2: i32, newgroup: u32);
            "MPI_Group_intersection" group_intersection(group1: i32, group2: i32, newgroup: u32);
            "MPI_Group_difference" group_difference(group1: i32, group2: i32, newgroup: u32);
            "MPI_Group_translate_ranks" group_translate_ranks(group1: i32, n: i32, ranks1: u32, group2: i32, ranks2: u32);
            "MPI_Group_compare" group_compare(group1: i32, group2: i32, result: u32);
            "MPI_Group_free" group_free(group: u32);
            // topology
            "MPI_Cart_create" cart_create(comm_old: i32, ndims: i32, dims: u32, periods: u32, reorder: i32, comm_cart: u32);
            "MPI_Cart_sub" cart_sub(comm: i32, remain_dims: u32, newcomm: u32);
            "MPI_Cart_coords" cart_coords(comm: i32, rank: i32, maxdims: i32, coords: u32);
            "MPI_Cart_rank" cart_rank(comm: i32, coords: u32, rank: u32);
            "MPI_Cart_shift" cart_shift(comm: i32, direction: i32, disp: i32, rank_source: u32, rank_dest: u32);
            "MPI_Cart_get" cart_get(comm: i32, maxdims: i32, dims: u32, periods: u32, coords: u32);
            "MPI_Cartdim_get" cartdim_get(comm: i32, ndims: u32);
            "MPI_Cart_map" cart_map(comm: i32, ndims: i32, dims: u32, periods: u32, newrank: u32);
            "MPI_Dims_create" dims_create(nnodes: i32, ndims: i32, dims: u32);
            "MPI_Topo_test" topo_test(comm: i32, status: u32);
            // graph
            "MPI_Graph_create" graph_create(comm_old: i32, nnodes: i32, index: u32, edges: u32, reorder: i32, comm_graph: u32);
            "MPI_Graph_map" graph_map(comm: i32, nnodes: i32, index: u32, edges: u32, newrank: u32);
            "MPI_Graphdims_get" graphdims_get(comm: i32, nnodes: u32, nedges: u32);
            "MPI_Graph_get" graph_get(comm: i32, maxindex: i32, maxedges: i32, index: u32, edges: u32);
            "MPI_Graph_neighbors_count" graph_neighbors_count(comm: i32, rank: i32, nneighbors: u32);
            "MPI_Graph_neighbors" graph_neighbors(comm: i32, rank: i32, maxneighbors: i32, neighbors: u32);
            "MPI_Dist_graph_create_adjacent" dist_graph_create_adjacent(comm_old: i32, indegree: i32, sources: u32, sourceweights: u32, outdegree: i32, destinations: u32, destweights: u32, info: i32, reorder: i32, comm_dist_graph: u32);
            "MPI_Dist_graph_create" dist_graph_create(comm_old: i32, n: i32, sources: u32, degrees: u32, destinations: u32, weights: u32, info: i32, reorder: i32, comm_dist_graph: u32);
            "MPI_Dist_graph_neighbors_count" dist_graph_neighbors_count(comm: i32, indegree: u32, outdegree: u32, weighted: u32);
            "MPI_Dist_graph_neighbors" dist_graph_neighbors(comm: i32, maxindegree: i32, sources: u32, sourceweights: u32, maxoutdegree: i32, destinations: u32, destweights: u32);
            // types
            "MPI_Type_contiguous" type_contiguous(number: i32, oldtype: i32, newtype: u32);
            "MPI_Type_vector" type_vector(number: i32, blocklength: i32, stride: i32, oldtype: i32, newtype: u32);
            "MPI_Type_create_hvector" type_create_hvector(number: i32, blocklength: i32, stride: i32, oldtype: i32, newtype: u32);
            "MPI_Type_indexed" type_indexed(number: i32, lengths: u32, displacements: u32, oldtype: i32, newtype: u32);
            "MPI_Type_create_hindexed" type_create_hindexed(number: i32, lengths: u32, displacements: u32, oldtype: i32, newtype: u32);
            "MPI_Type_create_indexed_block" type_create_indexed_block(number: i32, blocklength: i32, displacements: u32, oldtype: i32, newtype: u32);
            "MPI_Type_create_hindexed_block" type_create_hindexed_block(number: i32, blocklength: i32, displacements: u32, oldtype: i32, newtype: u32);
            "MPI_Type_create_struct" type_create_struct(number: i32, lengths: u32, displacements: u32, types: u32, newtype: u32);
            "MPI_Type_create_subarray" type_create_subarray(ndims: i32, sizes: u32, subsizes: u32, starts: u32, order: i32, oldtype: i32, newtype: u32);
            "MPI_Type_create_darray" type_create_darray(size: i32, rank: i32, ndims: i32, gsizes: u32, distribs: u32, dargs: u32, psizes: u32, order: i32, oldtype: i32, newtype: u32);
            "MPI_Type_create_resized" type_create_resized(oldtype: i32, lb: i32, extent: i32, newtype: u32);
            "MPI_Type_dup" type_dup(oldtype: i32, newtype: u32);
            "MPI_Type_commit" type_commit(datatype: u32);
            "MPI_Type_free" type_free(datatype: u32);
            "MPI_Type_size" type_size(datatype: i32, size: u32);
            "MPI_Type_size_x" type_size_x(datatype: i32, size: u32);
            "MPI_Type_get_extent" type_get_extent(datatype: i32, lb: u32, extent: u32);
            "MPI_Type_get_extent_x" type_get_extent_x(datatype: i32, lb: u32, extent: u32);
            "MPI_Type_get_true_extent" type_get_true_extent(datatype: i32, true_lb: u32, true_extent: u32);
            "MPI_Type_get_true_extent_x" type_get_true_extent_x(datatype: i32, true_lb: u32, true_extent: u32);
            "MPI_Type_match_size" type_match_size(typeclass: i32, size: i32, datatype: u32);
            "MPI_Type_set_name" type_set_name(datatype: i32, name: u32);
            "MPI_Type_get_name" type_get_name(datatype: i32, name: u32, resultlen: u32);
            "MPI_Type_get_envelope" type_get_envelope(datatype: i32, integers: u32, addresses: u32, datatypes: u32, combiner: u32);
            "MPI_Type_get_contents" type_get_contents(datatype: i32, max_integers: i32, max_addresses: i32, max_datatypes: i32, integers: u32, addresses: u32, datatypes: u32);
            "MPI_Pack" pack(inbuf: u32, incount: i32, datatype: i32, outbuf: u32, outsize: i32, position: u32, comm: i32);
            "MPI_Unpack" unpack(inbuf: u32, insize: i32, position: u32, outbuf: u32, outcount: i32, datatype: i32, comm: i32);
            "MPI_Pack_size" pack_size(incount: i32, datatype: i32, comm: i32, size: u32);
            // movement
            "MPI_Barrier" barrier(comm: i32);
            "MPI_Ibarrier" ibarrier(comm: i32, request: u32);
            "MPI_Bcast" bcast(buffer: u32, count: i32, datatype: i32, root: i32, comm: i32);
            "MPI_Ibcast" ibcast(buffer: u32, count: i32, datatype: i32, root: i32, comm: i32, request: u32);
            "MPI_Gather" gather(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, root: i32, comm: i32);
            "MPI_Igather" igather(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, root: i32, comm: i32, request: u32);
            "MPI_Gatherv" gatherv(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32, root: i32, comm: i32);
            "MPI_Igatherv" igatherv(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32, root: i32, comm: i32, request: u32);
            "MPI_Scatter" scatter(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, root: i32, comm: i32);
            "MPI_Iscatter" iscatter(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, root: i32, comm: i32, request: u32);
            "MPI_Scatterv" scatterv(sendbuf: u32, sendcounts: u32, displs: u32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, root: i32, comm: i32);
            "MPI_Iscatterv" iscatterv(sendbuf: u32, sendcounts: u32, displs: u32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, root: i32, comm: i32, request: u32);
            "MPI_Allgather" allgather(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32);
            "MPI_Iallgather" iallgather(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32, request: u32);
            "MPI_Allgatherv" allgatherv(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32, comm: i32);
            "MPI_Iallgatherv" iallgatherv(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32, comm: i32, request: u32);
            "MPI_Alltoall" alltoall(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32);
            "MPI_Ialltoall" ialltoall(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32, request: u32);
            "MPI_Alltoallv" alltoallv(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtype: i32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtype: i32, comm: i32);
            "MPI_Ialltoallv" ialltoallv(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtype: i32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtype: i32, comm: i32, request: u32);
            "MPI_Alltoallw" alltoallw(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtypes: u32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtypes: u32, comm: i32);
            "MPI_Ialltoallw" ialltoallw(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtypes: u32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtypes: u32, comm: i32, request: u32);
            // neighbour
            "MPI_Neighbor_allgather" neighbor_allgather(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32);
            "MPI_Ineighbor_allgather" ineighbor_allgather(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32, request: u32);
            "MPI_Neighbor_allgatherv" neighbor_allgatherv(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32, comm: i32);
            "MPI_Ineighbor_allgatherv" ineighbor_allgatherv(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32, comm: i32, request: u32);
            "MPI_Neighbor_alltoall" neighbor_alltoall(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32);
            "MPI_Ineighbor_alltoall" ineighbor_alltoall(sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32, comm: i32, request: u32);
            "MPI_Neighbor_alltoallv" neighbor_alltoallv(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtype: i32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtype: i32, comm: i32);
            "MPI_Ineighbor_alltoallv" ineighbor_alltoallv(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtype: i32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtype: i32, comm: i32, request: u32);
            "MPI_Neighbor_alltoallw" neighbor_alltoallw(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtypes: u32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtypes: u32, comm: i32);
            "MPI_Ineighbor_alltoallw" ineighbor_alltoallw(sendbuf: u32, sendcounts: u32, sdispls: u32, sendtypes: u32, recvbuf: u32, recvcounts: u32, rdispls: u32, recvtypes: u32, comm: i32, request: u32);
            // reduction
            "MPI_Reduce" reduce(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, root: i32, comm: i32);
            "MPI_Ireduce" ireduce(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, root: i32, comm: i32, request: u32);
            "MPI_Allreduce" allreduce(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, comm: i32);
            "MPI_Iallreduce" iallreduce(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, comm: i32, request: u32);
            "MPI_Reduce_scatter" reduce_scatter(sendbuf: u32, recvbuf: u32, recvcounts: u32, datatype: i32, op: i32, comm: i32);
            "MPI_Ireduce_scatter" ireduce_scatter(sendbuf: u32, recvbuf: u32, recvcounts: u32, datatype: i32, op: i32, comm: i32, request: u32);
            "MPI_Reduce_scatter_block" reduce_scatter_block(sendbuf: u32, recvbuf: u32, recvcount: i32, datatype: i32, op: i32, comm: i32);
            "MPI_Ireduce_scatter_block" ireduce_scatter_block(sendbuf: u32, recvbuf: u32, recvcount: i32, datatype: i32, op: i32, comm: i32, request: u32);
            "MPI_Scan" scan(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, comm: i32);
            "MPI_Iscan" iscan(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, comm: i32, request: u32);
            "MPI_Exscan" exscan(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, comm: i32);
            "MPI_Iexscan" iexscan(sendbuf: u32, recvbuf: u32, count: i32, datatype: i32, op: i32, comm: i32, request: u32);
            "MPI_Reduce_local" reduce_local(inbuf: u32, inoutbuf: u32, count: i32, datatype: i32, op: i32);
            "MPI_Op_create" op_create(function: u32, commute: i32, op: u32);
            "MPI_Op_free" op_free(op: u32);
            "MPI_Op_commutative" op_commutative(op: i32, commute: u32);
            // window
            "MPI_Win_create" win_create(base: u32, size: i32, disp_unit: i32, info: i32, comm: i32, win: u32);
            "MPI_Win_allocate" win_allocate(size: i32, disp_unit: i32, info: i32, comm: i32, baseptr: u32, win: u32);
            "MPI_Win_create_dynamic" win_create_dynamic(info: i32, comm: i32, win: u32);
            "MPI_Win_attach" win_attach(win: i32, base: u32, size: i32);
            "MPI_Win_detach" win_detach(win: i32, base: u32);
            "MPI_Win_free" win_free(win: u32);
            "MPI_Win_get_group" win_get_group(win: i32, group: u32);
            "MPI_Win_set_name" win_set_name(win: i32, name: u32);
            "MPI_Win_get_name" win_get_name(win: i32, name: u32, resultlen: u32);
            "MPI_Win_get_attr" win_get_attr(win: i32, keyval: i32, value: u32, flag: u32);
            "MPI_Put" put(origin: u32, origin_count: i32, origin_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, win: i32);
            "MPI_Get" get(origin: u32, origin_count: i32, origin_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, win: i32);
            "MPI_Accumulate" accumulate(origin: u32, origin_count: i32, origin_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, op: i32, win: i32);
            "MPI_Get_accumulate" get_accumulate(origin: u32, origin_count: i32, origin_type: i32, result: u32, result_count: i32, result_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, op: i32, win: i32);
            "MPI_Fetch_and_op" fetch_and_op(origin: u32, result: u32, datatype: i32, rank: i32, disp: i32, op: i32, win: i32);
            "MPI_Compare_and_swap" compare_and_swap(origin: u32, compare: u32, result: u32, datatype: i32, rank: i32, disp: i32, win: i32);
            "MPI_Rput" rput(origin: u32, origin_count: i32, origin_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, win: i32, request: u32);
            "MPI_Rget" rget(origin: u32, origin_count: i32, origin_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, win: i32, request: u32);
            "MPI_Raccumulate" raccumulate(origin: u32, origin_count: i32, origin_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, op: i32, win: i32, request: u32);
            "MPI_Rget_accumulate" rget_accumulate(origin: u32, origin_count: i32, origin_type: i32, result: u32, result_count: i32, result_type: i32, rank: i32, disp: i32, count: i32, datatype: i32, op: i32, win: i32, request: u32);
            "MPI_Win_fence" win_fence(assert: i32, win: i32);
            "MPI_Win_lock" win_lock(lock_type: i32, rank: i32, assert: i32, win: i32);
            "MPI_Win_unlock" win_unlock(rank: i32, win: i32);
            "MPI_Win_lock_all" win_lock_all(assert: i32, win: i32);
            "MPI_Win_unlock_all" win_unlock_all(win: i32);
            "MPI_Win_flush" win_flush(rank: i32, win: i32);
            "MPI_Win_flush_local" win_flush_local(rank: i32, win: i32);
            "MPI_Win_flush_all" win_flush_all(win: i32);
            "MPI_Win_flush_local_all" win_flush_local_all(win: i32);
            "MPI_Win_sync" win_sync(win: i32);
            "MPI_Win_post" win_post(group: i32, assert: i32, win: i32);
            "MPI_Win_start" win_start(group: i32, assert: i32, win: i32);
            "MPI_Win_complete" win_complete(win: i32);
            "MPI_Win_wait" win_wait(win: i32);
            "MPI_Win_test" win_test(win: i32, flag: u32);
        }
    };
}

macro_rules! methods {
    ($($name:literal $method:ident($($argument:ident: $type:ty),*);)*) => {
        #[allow(clippy::too_many_arguments, reason = "MPI gives them")]
        impl Rank {
            $(
                #[doc = concat!("`", $name, "`, with the arguments of C.")]
                ///
                /// # Errors
                ///
                /// When the world ends, or the rank is to stop. Errors that the program may handle are
                /// codes.
                #[inline]
                pub fn $method(&mut self, cb: &mut dyn Callback, $($argument: $type),*) -> Outcome {
                    self.engine.enter($name)?;
                    if const { may_block($name) } {
                        self.engine.stopping_point()?;
                    }
                    let result = self.engine.$method(cb, $($argument),*);
                    self.engine.leave(cb, result)
                }
            )*
        }

        /// The names of all functions that the engine has; others are to be refused by name.
        pub const FUNCTIONS: &[&str] = &[$($name,)* "MPI_Wtime", "MPI_Wtick"];
    };
}

functions!(methods);

impl Rank {
    /// `MPI_Wtime`: seconds since the world began, the same clock for all ranks.
    pub fn wtime(&self) -> f64 {
        self.world().seconds()
    }

    /// `MPI_Wtick`: how fine that is.
    pub fn wtick(&self) -> f64 {
        1e-9
    }
}
